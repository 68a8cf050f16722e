// The screen: progress of each stage against the target, then the video.
import * as api from "./api.js";
import { find, make, show } from "./dom.js";
import { describeQuality, told } from "./sentences.js";
import { explain, number, say } from "./words.js";

let running = null; // { id, controller, started, timer }
let shown = null;
let film = null; // what the video shows, to be released
let presented = 0;

export const isBusy = () => running !== null;

export function begin() {
  find("save-log").addEventListener("click", () => api.save(`/download/${shown.id}/log`, `${shown.id}.jsonl`).catch((error) => fail(explain(error))));
}

// Start a job with `send`, which gives its id, and follow it. Resolves when it has ended.
export async function run(send, ghostUrl) {
  clear();
  const controller = new AbortController();
  running = { id: null, controller, started: performance.now(), wanted: false };
  busy(true);
  find("ghost").src = ghostUrl || "";
  show(find("ghost"), Boolean(ghostUrl));
  show(find("screen-hint"), false);
  show(find("progress"));
  tell("sending");
  stages([{ stage: "liveportrait" }, { stage: "wav2lip" }, { stage: "encoder" }]);
  running.timer = setInterval(tick, 100);
  try {
    running.id = await send(controller.signal);
    if (running.wanted) await api.cancel(running.id);
    await api.follow(running.id, update, controller.signal);
    await present(await api.job(running.id));
  } catch (error) {
    if (running.wanted && controller.signal.aborted) tell("stopped");
    else fail(explain(error));
  } finally {
    clearInterval(running.timer);
    running = null;
    busy(false);
    document.dispatchEvent(new Event("library-changed"));
  }
}

export async function stop() {
  if (!running) return;
  tell("stopping");
  running.wanted = true;
  if (!running.id) return running.controller.abort();
  try { await api.cancel(running.id); } catch (error) { fail(explain(error)); }
}

// Show a job that has ended, from the history too.
export async function present(job) {
  if (!running) clear();
  show(find("ghost"), false);
  draw(job);
  if (job.state === "failed") return fail(explain(job.error));
  if (job.state === "cancelled") { show(find("screen-hint")); return tell("stopped"); }
  if (job.state !== "succeeded") return tell(job.state);
  const turn = ++presented;
  const [file, poster] = await Promise.all([api.held(`/v1/jobs/${job.id}/video`), api.picture(`/v1/jobs/${job.id}/poster`)]);
  if (turn !== presented) return file.release(); // something else is to be seen meanwhile
  const video = find("video");
  film = file;
  video.poster = poster;
  video.src = film.url;
  show(video);
  show(find("screen-hint"), false);
  const link = find("save");
  link.href = film.url;
  link.download = `${job.title || "visema"}.mp4`;
  show(link);
  show(find("save-log"));
  shown = job;
  video.play().catch(() => {}); // browsers may want a click first
}

function draw(job) {
  stages(job.stages);
  show(find("progress"));
  elapsed(job.elapsed_seconds ?? 0, job.target_seconds);
  badges(job);
  find("quality").textContent = describeQuality(job.quality);
  const list = find("warnings");
  list.replaceChildren(...job.warnings.map((text) => make("li", {}, told(text))));
  show(list, job.warnings.length > 0);
  if (job.state === "succeeded") find("state").textContent = say("done", { seconds: number(job.elapsed_seconds), length: number(job.video.seconds) });
}

export function redraw() {
  if (shown && !running) draw(shown);
}

function update(job) {
  if (!running.wanted) tell(job.state === "queued" ? "queued" : "running");
  if (job.started_at && !running.worked) { running.worked = true; running.started = performance.now(); }
  running.target = job.target_seconds;
  stages(job.stages);
}

function stages(list) {
  find("stages").replaceChildren(...list.map((stage) => {
    const name = say(`stage_${stage.stage}`);
    const total = stage.frames_total ?? 0;
    const done = total ? Math.min(stage.frames_done, total) : 0;
    const finished = stage.seconds != null || (total > 0 && done >= total);
    const bar = make("progress", { max: Math.max(1, total), value: finished ? Math.max(1, total) : done, ariaLabel: name });
    const side = stage.seconds != null ? say("seconds", { seconds: number(stage.seconds) }) : total ? say("frames", { done, total }) : "";
    return make("li", { className: finished ? "done" : "" }, make("span", {}, name), make("span", { className: "seconds" }, side), bar);
  }));
}

function badges(job) {
  const made = [];
  if (job.engine) {
    const embedded = job.engine.split("+").includes("embedded") || job.degraded;
    const why = [say("embeddedWhy"), ...job.degraded_reasons].join(" ");
    made.push(make("span", { className: embedded ? "badge warn" : "badge", title: embedded ? why : "", id: "engine-badge" }, say(embedded ? "embedded" : "neural")));
  }
  if (job.prepared) made.push(make("span", { className: "badge" }, say("prepared")));
  if (job.elapsed_seconds > job.target_seconds) made.push(make("span", { className: "badge warn" }, say("late")));
  find("badges").replaceChildren(...made);
}

function tick() {
  elapsed((performance.now() - running.started) / 1000, running.target ?? 3.5);
}

function elapsed(seconds, target) {
  find("elapsed").textContent = say("seconds", { seconds: number(seconds) });
  find("target").textContent = say("target", { seconds: number(target) });
  const whole = Math.max(target * 1.25, seconds);
  find("track-fill").style.width = `${(100 * seconds) / whole}%`;
  find("track-mark").style.left = `${(100 * target) / whole}%`;
  find("track-fill").parentElement.classList.toggle("late", seconds > target);
}

function tell(key) {
  find("state").textContent = say(key);
}

export function fail(text) {
  show(find("ghost"), false);
  show(find("screen-hint"));
  find("state").textContent = "";
  find("problem").textContent = text;
  show(find("problem"));
}

function clear() {
  shown = null;
  for (const id of ["problem", "video", "save", "save-log", "warnings", "progress"]) show(find(id), false);
  show(find("screen-hint"));
  find("video").pause();
  find("video").removeAttribute("src");
  find("save").removeAttribute("href");
  film?.release();
  film = null;
  presented++;
  find("badges").replaceChildren();
  find("quality").textContent = "";
  find("state").textContent = "";
}

function busy(on) {
  find("go").disabled = on;
  show(find("cancel"), on);
}
