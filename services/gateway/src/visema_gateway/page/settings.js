// The settings of a video in plain words. What stands at its default is left to the server.
import { find, make } from "./dom.js";
import { number, say } from "./words.js";

const STRENGTH = { min: 0, max: 2, step: 0.1, word: (value) => say(value === 0 ? "off" : value < 0.75 ? "little" : value <= 1.25 ? "natural" : "much") };
const percent = (value) => `${Math.round(value * 100)} %`;

// `of`: what a control says something about. A look is an avatar's too, and its videos may differ from it; the picture of
// an avatar is its own; speech and file belong to each video.
const CONTROLS = [
  { name: "expression", of: "look", start: "neutral", options: ["neutral", "warm", "serious", "happy", "sad", "surprised"] },
  { name: "expression_strength", of: "look", start: 0.6, min: 0, max: 1, step: 0.05, word: percent },
  { name: "head_motion", of: "look", start: 1, ...STRENGTH },
  { name: "breathing", of: "look", start: 1, ...STRENGTH },
  { name: "gaze_wander", of: "look", start: 1, ...STRENGTH },
  { name: "blinks_per_minute", of: "look", start: 17, min: 0, max: 40, step: 1, word: (value) => (value ? number(value, 0) : say("off")) },
  { name: "mouth_strength", of: "video", start: 1, min: 0, max: 1.5, step: 0.05, word: percent },
  { name: "speech_motion", of: "video", start: 0, ...STRENGTH },
  { name: "quality", of: "video", start: "standard", options: ["draft", "standard", "high"] },
  { name: "size_px", of: "picture", start: "512", options: ["256", "512", "768", "1024"] },
  { name: "framing", of: "picture", start: "bust", options: ["face", "bust", "full-picture"] },
  { name: "face", of: "picture", start: "ask", options: ["ask", "largest"], unsent: "ask" },
  { name: "engine", of: "look", start: "auto", options: ["auto", "neural", "embedded"] },
];
// What is sent with a photo's video, with an avatar's, and when an avatar is kept.
const TAKEN = { video: ["look", "picture", "video"], avatarVideo: ["look", "video"], avatar: ["look", "picture"] };

export function draw() {
  const values = new Map(CONTROLS.map(({ name }) => [name, find(`set-${name}`)?.value]));
  find("settings-grid").replaceChildren(...CONTROLS.map((control) => drawn(control, values.get(control.name) ?? String(control.start))));
}

function drawn(control, value) {
  const id = `set-${control.name}`;
  const label = make("label", { htmlFor: id }, say(`set_${control.name}`));
  if (control.options) {
    const options = control.options.map((name) => make("option", { value: name, selected: name === value }, say(`opt_${name}`)));
    return make("div", {}, label, make("select", { id }, ...options));
  }
  const { min, max, step } = control;
  const input = make("input", { type: "range", id, min, max, step, value });
  const shown = make("output", { className: "value" });
  const tell = () => {
    shown.textContent = control.word(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", tell);
  tell();
  return make("div", {}, shown, label, input);
}

export function reset() {
  find("settings-grid").replaceChildren();
  draw();
}

// Add what differs from the defaults to a form for a `video`, an `avatarVideo` or an `avatar`.
export function addTo(form, kind) {
  for (const { name, of, start, unsent } of CONTROLS) {
    const { value } = find(`set-${name}`);
    if (TAKEN[kind].includes(of) && value !== String(start) && value !== unsent) form.append(name, value);
  }
}
