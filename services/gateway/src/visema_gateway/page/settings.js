// The settings of a video in plain words. What stands at its default is left to the server.
import { find, make } from "./dom.js";
import { number, say } from "./words.js";

const STRENGTH = { min: 0, max: 2, step: 0.1, word: (value) => say(value === 0 ? "off" : value < 0.75 ? "little" : value <= 1.25 ? "natural" : "much") };
const percent = (value) => `${Math.round(value * 100)} %`;

const CONTROLS = [
  { name: "expression", start: "neutral", options: ["neutral", "warm", "serious", "happy", "sad", "surprised"] },
  { name: "expression_strength", start: 0.6, min: 0, max: 1, step: 0.05, word: percent },
  { name: "head_motion", start: 1, ...STRENGTH },
  { name: "breathing", start: 1, ...STRENGTH },
  { name: "gaze_wander", start: 1, ...STRENGTH },
  { name: "blinks_per_minute", start: 17, min: 0, max: 40, step: 1, word: (value) => (value ? number(value, 0) : say("off")) },
  { name: "mouth_strength", start: 1, min: 0, max: 1.5, step: 0.05, word: percent },
  { name: "quality", start: "standard", options: ["draft", "standard", "high"] },
  { name: "size_px", start: "512", options: ["256", "512", "768", "1024"] },
  { name: "framing", start: "bust", options: ["face", "bust", "full-picture"] },
  { name: "face", start: "ask", options: ["ask", "largest"], unsent: "ask" },
  { name: "engine", start: "auto", options: ["auto", "neural", "embedded"] },
];
// With an avatar these are the avatar's own.
const OF_THE_AVATAR = new Set(["size_px", "framing", "face"]);

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

// Add what differs from the defaults to a form.
export function addTo(form, forAvatarJob) {
  for (const { name, start, unsent } of CONTROLS) {
    const { value } = find(`set-${name}`);
    if (value !== String(start) && value !== unsent && !(forAvatarJob && OF_THE_AVATAR.has(name))) form.append(name, value);
  }
}
