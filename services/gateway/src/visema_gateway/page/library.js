// Gallery of avatars, and history of videos.
import * as api from "./api.js";
import { find, make, show } from "./dom.js";
import { thumbnail } from "./portrait.js";
import { currentLanguage, explain, number, say } from "./words.js";

const POLL_MS = 1500;
let nextPage = "";
let timer = 0;

// `use` gets an avatar that was chosen, `play` a job.
export function begin(use, play) {
  find("more").addEventListener("click", () => drawJobs(play, true));
  return {
    avatars: () => guarded("avatars", () => drawAvatars(use)),
    history: () => guarded("jobs", () => drawJobs(play, false)),
  };
}

export const leave = () => clearTimeout(timer);

async function guarded(id, draw) {
  try { await draw(); } catch (error) { find(id).replaceChildren(make("li", { className: "problem" }, explain(error))); }
}

async function drawAvatars(use) {
  const { avatars } = await api.avatars();
  find("avatars").replaceChildren(...avatars.map((avatar) => avatarCard(avatar, use)));
  show(find("avatars-empty"), avatars.length === 0);
  clearTimeout(timer);
  if (avatars.some((avatar) => avatar.state === "preparing") && location.hash === "#avatars") {
    timer = setTimeout(() => guarded("avatars", () => drawAvatars(use)), POLL_MS);
  }
}

function avatarCard(avatar, use) {
  const name = avatar.name || say("untitled");
  const state = avatar.state === "preparing" ? say("preparing", { percent: avatar.percent }) : say(avatar.state);
  const choose = make("button", { type: "button", className: "primary", ariaLabel: `${say("use")}: ${name}` }, say("use"));
  choose.addEventListener("click", () => use(avatar));
  const remove = removal(name, say("removeAvatar", { name }), () => api.removeAvatar(avatar.id), () => drawAvatars(use));
  const text = avatar.error ? explain(avatar.error) : avatar.description;
  return make("li", {}, thumbnail(avatar), make("div", { className: "body" },
    make("h2", {}, name), badge(state, avatar.state === "failed"), text ? make("p", {}, text) : null, make("div", { className: "actions" }, choose, remove)));
}

async function drawJobs(play, more) {
  const page = await api.jobs(more ? nextPage : "");
  nextPage = page.next_page_token;
  const cards = page.jobs.map((job) => jobCard(job, play));
  if (more) find("jobs").append(...cards);
  else find("jobs").replaceChildren(...cards);
  show(find("more"), Boolean(nextPage));
  show(find("jobs-empty"), !more && cards.length === 0);
}

function jobCard(job, play) {
  const title = job.title || job.text || say("spokenFile");
  const when = new Intl.DateTimeFormat(currentLanguage(), { dateStyle: "medium", timeStyle: "short" }).format(new Date(job.created_at));
  const facts = job.video ? `${when} · ${say("seconds", { seconds: number(job.video.seconds) })}` : when;
  const picture = job.video ? make("img", { alt: "", loading: "lazy" }) : make("div", { className: "blank" });
  if (job.video) api.media(`/v1/jobs/${job.id}/poster`).then((url) => { picture.src = url; }).catch(() => {});
  const actions = make("div", { className: "actions" });
  if (job.video) {
    const button = make("button", { type: "button", className: "primary", ariaLabel: `${say("play")}: ${title}` }, say("play"));
    button.addEventListener("click", () => play(job));
    actions.append(button);
  }
  if (!["queued", "running"].includes(job.state)) actions.append(removal(title, say("removeJob"), () => api.removeJob(job.id), () => drawJobs(play, false)));
  const embedded = job.engine?.split("+").includes("embedded");
  return make("li", {}, picture, make("div", { className: "body" },
    make("h2", {}, title), badge(say(job.state), job.state === "failed"),
    make("p", {}, facts), embedded ? make("p", {}, say("embedded")) : null, job.error ? make("p", {}, explain(job.error)) : null, actions));
}

const badge = (text, bad) => make("div", { className: "badges" }, make("span", { className: bad ? "badge bad" : "badge" }, text));

function removal(name, question, act, after) {
  const button = make("button", { type: "button", className: "quiet danger", ariaLabel: `${say("remove")}: ${name}` }, say("remove"));
  button.addEventListener("click", async () => {
    if (!confirm(question)) return;
    button.disabled = true;
    try { await act(); await after(); } catch (error) { button.disabled = false; alert(explain(error)); }
  });
  return button;
}
