"""eSpeak NG: formant synthesis in more than a hundred languages, without checkpoints."""
