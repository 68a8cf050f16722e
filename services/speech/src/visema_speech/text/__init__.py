"""What a text is before an engine sees it: cleaned, split, and assigned to voices."""
