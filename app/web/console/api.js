// Requests to the server that this page came from. Paths are relative: a gateway may have put the
// server below a path of its own.

import { askForToken, tokenInUse } from "./token.js";

const PATIENCE = 120_000; // milliseconds; the server's own deadline comes first

/** Why there is no answer: the server's error code, or "unreachable". */
export class Refusal extends Error {
  constructor(code, message, requestId = "") {
    super(message);
    this.code = code;
    this.requestId = requestId;
  }
}

/** Send a request without a token; resolves with the response, whatever its status. */
export async function request(path, options = {}) {
  try {
    return await fetch(new URL(path, document.baseURI), {
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
      ...options,
    });
  } catch (error) {
    throw new Refusal("unreachable", String(error));
  }
}

/** Post an image; ask for the token where the server wants it; resolves with the response. */
export async function post(path, body) {
  for (;;) {
    const token = tokenInUse();
    const headers = { "Content-Type": "application/octet-stream" };
    if (token) headers.Authorization = `Bearer ${token}`;
    const response = await request(path, { method: "POST", body, headers });
    if (response.ok) return response;
    const refusal = await refusalOf(response);
    if (response.status !== 401 || !(await askForToken(token))) throw refusal;
  }
}

async function refusalOf(response) {
  const id = response.headers.get("X-Request-Id") ?? "";
  try {
    const { error } = await response.json();
    return new Refusal(error.code, error.message, id);
  } catch {
    return new Refusal("other", `HTTP ${response.status}`, id); // a proxy's page, not ours
  }
}
