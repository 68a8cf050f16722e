// Wires the page together.
import * as api from "./api.js";
import { find, note, show } from "./dom.js";
import * as library from "./library.js";
import * as portrait from "./portrait.js";
import * as result from "./result.js";
import * as settings from "./settings.js";
import * as speech from "./speech.js";
import { preferred, say, setFacts, speak } from "./words.js";

const VIEWS = ["create", "avatars", "history"];
const FALLBACK = { limits: { image_max_bytes: 5 * 1048576, audio_max_bytes: 25 * 1048576, audio_max_seconds: 60, text_max_characters: 5000 }, text_to_speech: true, tokens_needed: false };

const lists = library.begin(
  async (avatar) => { location.hash = "#create"; await portrait.takeAvatar(avatar); find("text").focus(); },
  async (job) => { location.hash = "#create"; await result.present(job); find("video").focus(); },
);

function visit() {
  const view = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "create";
  for (const name of VIEWS) show(find(`view-${name}`), name === view);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  lists[view]?.();
}

async function submit(event) {
  event.preventDefault();
  if (result.isBusy()) return;
  const { file, avatar } = portrait.current();
  if (!file && !avatar) {
    note(find("image-note"), say("needImage"), true);
    return find("image").focus();
  }
  const form = new FormData();
  if (file) form.append("image", file);
  else form.append("avatar_id", avatar.id);
  const missing = speech.addTo(form);
  if (missing) {
    note(find("audio-note"), say(missing), true);
    return find({ needText: "text", needAudio: "audio", needRecording: "record" }[missing]).focus();
  }
  note(find("audio-note"), "");
  settings.addTo(form, avatar ? "avatarVideo" : "video");
  const key = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  if (matchMedia("(max-width: 860px)").matches) find("screen").scrollIntoView({ block: "start" });
  await result.run(async (signal) => (await api.generate(form, key, signal)).session_id, portrait.previewUrl());
}

function askForToken() {
  const dialog = find("token-dialog");
  show(find("token-open"));
  if (!dialog.open) { find("token-input").value = ""; dialog.showModal(); }
}

function takeLanguage(language) {
  localStorage.setItem("visema-language", language);
  speak(language);
  settings.draw();
  portrait.retell();
  speech.draw();
  result.redraw();
  visit();
}

async function begin() {
  find("language").value = preferred();
  speak(preferred());
  settings.draw();
  const config = await api.config().catch(() => FALLBACK);
  setFacts(config.limits);
  portrait.begin(config);
  speech.begin(config);
  result.begin();
  find("form").addEventListener("submit", submit);
  find("cancel").addEventListener("click", result.stop);
  find("reset").addEventListener("click", settings.reset);
  find("language").addEventListener("change", () => takeLanguage(find("language").value));
  find("token-open").addEventListener("click", askForToken);
  find("token-dialog").addEventListener("close", () => {
    if (find("token-dialog").returnValue === "save") { api.setToken(find("token-input").value.trim()); visit(); speech.loadVoices(); }
  });
  document.addEventListener("token-needed", askForToken);
  document.addEventListener("library-changed", visit);
  addEventListener("hashchange", () => { visit(); find("main").focus({ preventScroll: true }); scrollTo(0, 0); });
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // a missed drop must not leave the page
  speak(preferred());
  visit();
  if (config.tokens_needed) { show(find("token-open")); if (!api.token()) askForToken(); }
  if (config.text_to_speech && (!config.tokens_needed || api.token())) speech.loadVoices();
  const healthy = await api.healthy();
  find("banner").textContent = healthy ? "" : say("away");
  show(find("banner"), !healthy);
  document.documentElement.dataset.ready = "yes";
}

begin();
