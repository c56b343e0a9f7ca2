// Calls to the server: JSON in, JSON out. A refusal is an ApiError with the server's own sentence and the field it is about.

import { t } from "./text.js";

export class ApiError extends Error {
  constructor({ code = "error", message, field = null, details = [] }) {
    super(message);
    this.code = code;
    this.field = field;
    this.details = details;
  }
}

export const get = (path, options = {}) => call("GET", path, undefined, options);
export const post = (path, body, options = {}) => call("POST", path, body, options);
export const patch = (path, body) => call("PATCH", path, body);
export const remove = (path) => call("DELETE", path);

async function call(method, path, body, options = {}) {
  const response = await send(method, path, body, options);
  return response.status === 204 ? null : response.json();
}

// The response itself, for whoever reads it as it comes. Throws ApiError unless it is a success.
export async function send(method, path, body, options = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = { method, headers, body: body === undefined ? undefined : JSON.stringify(body), ...options };
  const response = await fetch(path, request).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ code: "unreachable", message: t("js.unreachable") });
  });
  if (!response.ok) throw new ApiError(errorOf(await response.text().catch(() => "")));
  return response;
}

// The error inside an answer's text; whatever is not ours becomes one plain sentence.
export function errorOf(text) {
  try {
    const { error } = JSON.parse(text);
    if (error?.message) return error;
  } catch {
    // not JSON: a proxy, or a server that is going down
  }
  return { message: t("js.unexpected") };
}

export const path = (strings, ...names) =>
  strings.reduce((whole, part, i) => whole + part + (i < names.length ? encodeURIComponent(names[i]) : ""), "");
