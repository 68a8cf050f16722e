// Step 1: a photo or an avatar, with its preview and the face where the server found it.
import * as api from "./api.js";
import { dropZone, find, make, megabytes, note, show } from "./dom.js";
import * as settings from "./settings.js";
import { explain, say } from "./words.js";

let chosen = { file: null, avatar: null };
let looking = new AbortController();
let spoken = { words: () => "", bad: false };
let limits = { image_max_bytes: 5 * 1048576 };

export const current = () => chosen;
export const previewUrl = () => find("preview-img").src;

export function begin(config) {
  limits = config.limits;
  dropZone(find("drop-image"), find("image"), takeFile);
  find("keep").addEventListener("click", keep);
}

export function takeFile(file) {
  if (!/^image\/(jpeg|png|webp)$/.test(file.type)) return refuse(say("err_MEDIA_NOT_ALLOWED"));
  if (file.size > limits.image_max_bytes) return refuse(say("err_IMAGE_TOO_LARGE"));
  chosen = { file, avatar: null };
  preview(URL.createObjectURL(file), file.name);
  find("avatar-name").value = "";
  show(find("keep-row"));
  note(find("image-note"), say("chosenFile", { name: file.name, size: megabytes(file.size) }));
  look(file);
}

// Ask the server where the face is. A file that was chosen meanwhile makes the answer worthless.
async function look(file) {
  looking.abort();
  looking = new AbortController();
  const { signal } = looking;
  const form = new FormData();
  form.append("image", file);
  tell(() => say("keeping"));
  try {
    const seen = await api.inspect(form, signal);
    if (signal.aborted) return;
    frame(find("preview-img"), seen.faces[seen.selected], seen);
    tell(() => describe(seen), seen.faces.length > 1 || seen.flaws.length > 0);
  } catch (error) {
    if (signal.aborted) return;
    tell(() => explain(error), true);
  }
}

// Words about the face, in the language of the page also when that changes.
function tell(words, bad = false) {
  spoken = { words, bad };
  retell();
}

export const retell = () => note(find("face-note"), spoken.words(), spoken.bad);

function describe(seen) {
  const found = seen.faces.length > 1 ? say("facesFound", { count: seen.faces.length }) : say("faceFound");
  return [found, ...seen.flaws.map((flaw) => say(`flaw_${flaw}`))].join(" ");
}

export async function takeAvatar(avatar) {
  chosen = { file: null, avatar };
  show(find("keep-row"), false);
  find("image").value = "";
  note(find("image-note"), say("chosenAvatar", { name: avatar.name || say("untitled") }));
  preview(await api.picture(`/v1/avatars/${avatar.id}/image`), avatar.name, avatar.face);
}

function refuse(text) {
  chosen = { file: null, avatar: null };
  find("image").value = "";
  show(find("keep-row"), false);
  showPreview(false);
  note(find("image-note"), text, true);
}

function preview(url, name, face) {
  const image = find("preview-img");
  looking.abort();
  tell(() => "");
  image.onload = () => { if (face) frame(image, face); };
  image.onerror = () => refuse(say("err_MEDIA_UNREADABLE"));
  image.src = url;
  image.alt = name || say("portrait");
  show(find("face-box"), false);
  showPreview(true);
}

function showPreview(there) {
  if (!there) { looking.abort(); tell(() => ""); }

  for (const id of ["preview", "image-again"]) show(find(id), there);
  show(find("image-hint"), !there);
}

// Draw the frame around a face of a picture, whose size the server says or the browser knows.
function frame(image, face, { width_px: width, height_px: height } = { width_px: image.naturalWidth, height_px: image.naturalHeight }) {
  const box = find("face-box");
  const part = (value, whole) => `${(100 * value) / whole}%`;
  box.style.left = part(face.left_px, width);
  box.style.top = part(face.top_px, height);
  box.style.width = part(face.width_px, width);
  box.style.height = part(face.height_px, height);
  show(box);
}

async function keep() {
  const name = find("avatar-name").value.trim();
  if (!name) return find("avatar-name").focus();
  const form = new FormData();
  form.append("image", chosen.file);
  form.append("name", name);
  settings.addTo(form, "avatar");
  find("keep").disabled = true;
  note(find("image-note"), say("keeping"));
  try {
    await takeAvatar(await api.keepAvatar(form));
    note(find("image-note"), say("kept", { name }));
    document.dispatchEvent(new Event("library-changed"));
  } catch (error) {
    note(find("image-note"), explain(error), true);
  } finally {
    find("keep").disabled = false;
  }
}

export const thumbnail = (avatar) => {
  const image = make("img", { alt: avatar.name || say("untitled"), loading: "lazy" });
  api.picture(`/v1/avatars/${avatar.id}/image`).then((url) => { image.src = url; }).catch(() => {});
  return image;
};
