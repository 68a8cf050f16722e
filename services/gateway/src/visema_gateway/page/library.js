// Gallery of avatars, and history of videos.
import * as api from "./api.js";
import { find, make, show } from "./dom.js";
import { thumbnail } from "./portrait.js";
import { currentLanguage, explain, number, say } from "./words.js";

const POLL_MS = 1500;

// `use` gets an avatar that was chosen, `play` a job.
export function begin(use, play) {
  return {
    avatars: gallery("avatars", api.avatars, (avatar, removed) => avatarCard(avatar, use, removed)),
    history: gallery("jobs", api.jobs, (job, removed) => jobCard(job, play, removed)),
  };
}

// Cards that come page by page. `load` gives a page, whose list is called `name`; `card` draws an entry, and is told what
// to do when the entry is gone. Returns: a function that draws the first page.
function gallery(name, load, card) {
  const list = find(name);
  const more = find(`${name}-more`);
  let nextPage = "";
  let turn = 0;
  async function draw(pageToken) {
    const mine = ++turn;
    const put = (...cards) => (pageToken ? list.append(...cards) : list.replaceChildren(...cards));
    try {
      const page = await load(pageToken);
      if (mine !== turn) return; // what was asked for later counts
      nextPage = page.next_page_token;
      put(...page[name].map((entry) => card(entry, removed)));
    } catch (error) {
      if (mine === turn) put(make("li", { className: "problem" }, explain(error)));
    }
    show(more, Boolean(nextPage));
    show(find(`${name}-empty`), list.children.length === 0);
  }
  const first = () => draw("");
  const removed = (card) => { card.remove(); if (!list.children.length) first(); };
  more.addEventListener("click", () => draw(nextPage));
  return first;
}

function avatarCard(avatar, use, removed) {
  const name = avatar.name || say("untitled");
  const state = avatar.state === "preparing" ? say("preparing", { percent: avatar.percent }) : say(avatar.state);
  const choose = make("button", { type: "button", className: "primary", ariaLabel: `${say("use")}: ${name}` }, say("use"));
  choose.addEventListener("click", () => use(avatar));
  const remove = removal(name, say("removeAvatar", { name }), () => api.removeAvatar(avatar.id), () => removed(card));
  const text = avatar.error ? explain(avatar.error) : avatar.description;
  const card = make("li", {}, thumbnail(avatar), make("div", { className: "body" },
    make("h2", {}, name), badge(state, avatar.state === "failed"), text ? make("p", {}, text) : null, make("div", { className: "actions" }, choose, remove)));
  const refresh = async () => {
    if (!card.isConnected || location.hash !== "#avatars") return;
    try { card.replaceWith(avatarCard(await api.avatar(avatar.id), use, removed)); } catch { setTimeout(refresh, POLL_MS); }
  };
  if (avatar.state === "preparing") setTimeout(refresh, POLL_MS);
  return card;
}

function jobCard(job, play, removed) {
  const title = job.title || job.text || say("spokenFile");
  const when = new Intl.DateTimeFormat(currentLanguage(), { dateStyle: "medium", timeStyle: "short" }).format(new Date(job.created_at));
  const facts = job.video ? `${when} · ${say("seconds", { seconds: number(job.video.seconds) })}` : when;
  const picture = job.video ? make("img", { alt: "", loading: "lazy" }) : make("div", { className: "blank" });
  if (job.video) api.picture(`/v1/jobs/${job.id}/poster`).then((url) => { picture.src = url; }).catch(() => {});
  const actions = make("div", { className: "actions" });
  if (job.video) {
    const button = make("button", { type: "button", className: "primary", ariaLabel: `${say("play")}: ${title}` }, say("play"));
    button.addEventListener("click", () => play(job));
    actions.append(button);
  }
  if (!["queued", "running"].includes(job.state)) actions.append(removal(title, say("removeJob"), () => api.removeJob(job.id), () => removed(card)));
  const embedded = job.engine?.split("+").includes("embedded");
  const card = make("li", {}, picture, make("div", { className: "body" },
    make("h2", {}, title), badge(say(job.state), job.state === "failed"),
    make("p", {}, facts), embedded ? make("p", {}, say("embedded")) : null, job.error ? make("p", {}, explain(job.error)) : null, actions));
  return card;
}

const badge = (text, bad) => make("div", { className: "badges" }, make("span", { className: bad ? "badge bad" : "badge" }, text));

function removal(name, question, act, after) {
  const button = make("button", { type: "button", className: "quiet danger", ariaLabel: `${say("remove")}: ${name}` }, say("remove"));
  button.addEventListener("click", async () => {
    if (!confirm(question)) return;
    button.disabled = true;
    try { await act(); after(); } catch (error) { button.disabled = false; alert(explain(error)); }
  });
  return button;
}
