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

/** Send a request that may need the token, and ask for it then; throws a Refusal where it failed. */
export async function authorized(path, options = {}) {
  for (;;) {
    const token = tokenInUse();
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await request(path, { ...options, headers });
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
