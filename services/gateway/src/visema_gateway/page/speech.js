// Step 2: text, an audio file or the microphone.
import * as api from "./api.js";
import { dropZone, find, make, megabytes, note, show } from "./dom.js";
import { Recorder } from "./recorder.js";
import { currentLanguage, number, say } from "./words.js";

const recorder = new Recorder();
const files = { file: null, record: null };
let limits = { audio_max_bytes: 25 * 1048576, audio_max_seconds: 60, text_max_characters: 5000 };
let voices = [];
let recording = false;
let changing = false;

export const source = () => document.querySelector("input[name=source]:checked").value;

export async function begin(config) {
  limits = config.limits;
  dropZone(find("drop-audio"), find("audio"), takeFile);
  for (const radio of document.querySelectorAll("input[name=source]")) radio.addEventListener("change", switched);
  find("text").addEventListener("input", count);
  find("record").addEventListener("click", toggle);
  find("voice-language").addEventListener("change", drawVoices);
  count();
  if (!config.text_to_speech) {
    document.querySelector("input[value=file]").checked = true;
    show(document.querySelector("input[value=text]").closest("label"), false);
  }
  switched();
}

export async function loadVoices() {
  try { voices = await api.voices(); } catch { voices = []; }
  draw();
}

// Voices and counts in the page's language.
export function draw() {
  count();
  if (!recording) find("record-label").textContent = say(files.record ? "recordAgain" : "record");
  show(find("voices"), voices.length > 0);
  if (!voices.length) return;
  const names = new Intl.DisplayNames([currentLanguage()], { type: "language" });
  const called = (tag) => { try { return names.of(tag); } catch { return tag; } };
  const tags = [...new Set(voices.map((voice) => root(voice.languages[0] ?? "und")))];
  const rows = tags.map((tag) => [tag, called(tag)]).sort((a, b) => a[1].localeCompare(b[1], currentLanguage()));
  const kept = find("voice-language").value;
  find("voice-language").replaceChildren(
    make("option", { value: "" }, say("automatic")),
    ...rows.map(([tag, name]) => make("option", { value: tag, selected: tag === kept }, name)),
  );
  drawVoices();
}

const root = (tag) => tag.split("-")[0];

function drawVoices() {
  const language = find("voice-language").value;
  const kept = find("voice").value;
  const fitting = voices.filter((voice) => language && root(voice.languages[0] ?? "und") === language);
  find("voice").replaceChildren(
    ...(fitting.length ? [] : [make("option", { value: "" }, say("automatic"))]),
    ...fitting.map((voice) => make("option", { value: voice.id, selected: voice.id === kept }, voice.name)),
  );
}

// Put the speech into a form. Returns: what is missing, as a key of the words, or null.
export function addTo(form) {
  if (source() === "text") {
    const text = find("text").value.trim();
    if (!text) return "needText";
    form.append("text", text);
    if (find("voice").value) form.append("voice_id", find("voice").value);
    return null;
  }
  const file = files[source()];
  if (!file) return source() === "file" ? "needAudio" : "needRecording";
  form.append("audio", file);
  return null;
}

export function takeFile(file) {
  files.file = null;
  if (file.size > limits.audio_max_bytes) {
    note(find("audio-note"), say("err_MEDIA_TOO_LARGE"), true);
  } else {
    files.file = file;
    note(find("audio-note"), say("chosenFile", { name: file.name, size: megabytes(file.size) }));
  }
  listen();
}

function switched() {
  for (const pane of document.querySelectorAll(".pane")) show(pane, pane.dataset.source === source());
  note(find("audio-note"), "");
  listen();
}

function listen() {
  const player = find("listen");
  if (player.src) URL.revokeObjectURL(player.src);
  const file = files[source()];
  show(player, Boolean(file));
  if (file) player.src = URL.createObjectURL(file);
  else player.removeAttribute("src");
}

function count() {
  find("text-count").textContent = say("characters", { n: number(find("text").value.length, 0), most: number(limits.text_max_characters, 0) });
}

// One click at a time: what begins or ends is not begun or ended again meanwhile.
async function toggle() {
  if (changing) return;
  changing = true;
  try { await (recording ? finish() : start()); } finally { changing = false; }
}

async function start() {
  if (!navigator.mediaDevices) return note(find("audio-note"), say("insecure"), true);
  try {
    await recorder.start((peak, seconds) => {
      find("level").value = peak;
      find("clock").textContent = clock(seconds);
      if (seconds >= limits.audio_max_seconds - 0.2) toggle();
    });
  } catch {
    return note(find("audio-note"), say("noMicrophone"), true);
  }
  recording = true;
  note(find("audio-note"), "");
  find("record").setAttribute("aria-pressed", "true");
  find("record-label").textContent = say("stopRecording");
}

async function finish() {
  recording = false;
  const { file, seconds } = await recorder.stop();
  files.record = file;
  find("level").value = 0;
  find("record").setAttribute("aria-pressed", "false");
  find("record-label").textContent = say("recordAgain");
  note(find("audio-note"), say("recorded", { seconds: number(seconds) }));
  listen();
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
