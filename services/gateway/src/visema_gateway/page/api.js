// Calls of the REST API. Errors are ApiErrors with the reason that the server gave.
export class ApiError extends Error {
  constructor(problem, status) {
    super(problem.detail ?? problem.message ?? `HTTP ${status}`);
    this.reason = problem.reason ?? "";
    this.status = status;
    this.requestId = problem.request_id ?? "";
  }
}

const TOKEN = "visema-token";
const SAVING_MS = 60_000; // by then the browser has copied what it saves
export const token = () => sessionStorage.getItem(TOKEN) ?? "";
export function setToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
  for (const path of [...pictures.keys()]) forget(path); // they were for the token before
}
const authorized = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

async function call(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...authorized(), ...options.headers } });
  if (response.ok) return response;
  let problem = {};
  try { problem = await response.json(); } catch { /* not from the gateway itself */ }
  if (response.status === 401) document.dispatchEvent(new Event("token-needed"));
  throw new ApiError(problem, response.status);
}

const json = async (path, options) => (await call(path, options)).json();

export const config = () => json("/config");
export const healthy = async () => { try { return (await fetch("/health")).ok; } catch { return false; } };
export const voices = async () => (await json("/v1/voices")).voices;
export const avatars = (pageToken = "") => json(`/v1/avatars?page_size=60&page_token=${encodeURIComponent(pageToken)}`);
export const avatar = (id) => json(`/v1/avatars/${id}`);
export const inspect = (form, signal) => json("/v1/portraits/inspect", { method: "POST", body: form, signal });
export const keepAvatar = (form) => json("/v1/avatars", { method: "POST", body: form });
export const removeAvatar = (id) => call(`/v1/avatars/${id}`, { method: "DELETE" });
export const jobs = (pageToken = "") => json(`/v1/jobs?page_size=24&page_token=${encodeURIComponent(pageToken)}`);
export const job = (id) => json(`/v1/jobs/${id}`);
export const cancel = (id) => json(`/v1/jobs/${id}/cancel`, { method: "POST" });
export const removeJob = (id) => call(`/v1/jobs/${id}`, { method: "DELETE" });
export const generate = (form, key, signal) =>
  json("/generate", { method: "POST", body: form, headers: { "Idempotency-Key": key }, signal });

// An address for <video> and <a>, which send no token: with one, the file is fetched and held until `release`.
export async function held(path) {
  if (!token()) return { url: path, release() {} };
  const url = URL.createObjectURL(await (await call(path)).blob());
  return { url, release: () => URL.revokeObjectURL(url) };
}

// An address for <img>. Pictures are small and shown again and again: the newest are kept.
const PICTURES_KEPT = 300;
const pictures = new Map();
export async function picture(path) {
  const kept = pictures.get(path) ?? held(path);
  pictures.delete(path);
  pictures.set(path, kept);
  if (pictures.size > PICTURES_KEPT) forget(pictures.keys().next().value);
  try { return (await kept).url; } catch (error) { if (pictures.get(path) === kept) pictures.delete(path); throw error; }
}

function forget(path) {
  pictures.get(path).then((file) => file.release(), () => {});
  pictures.delete(path);
}

// Save a file under a name, as a click on a link does where no token is needed.
export async function save(path, name) {
  const file = await held(path);
  Object.assign(document.createElement("a"), { href: file.url, download: name }).click();
  setTimeout(file.release, SAVING_MS);
}

// Follow a job to its end. Calls `onJob` with each state; goes on after broken connections.
export async function follow(id, onJob, signal) {
  let last = "0";
  for (let failures = 0; ; ) {
    try {
      const response = await call(`/v1/jobs/${id}/events`, { headers: { "Last-Event-ID": last }, signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        text += part.value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 2)]));
          if (!fields.data) continue;
          failures = 0;
          last = fields.id;
          onJob(JSON.parse(fields.data));
          if (fields.event === "end") return;
        }
      }
      const known = await job(id);
      onJob(known);
      if (["succeeded", "failed", "cancelled"].includes(known.state)) return;
    } catch (error) {
      if (signal?.aborted || (error instanceof ApiError && error.status < 500 && error.status !== 429) || ++failures > 8) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** Math.min(failures, 4)));
  }
}
