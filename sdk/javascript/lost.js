// Requests that got no complete response.

// NoResponse means that there was no complete response. The request may have taken effect.
export class NoResponse extends Error {
  constructor(method, path, cause) {
    super(`No response to ${method} ${path}: ${cause.cause?.message ?? cause.message}`, { cause });
    this.name = "NoResponse";
  }

  // temporary: the same request may succeed later. It does not if the certificate is refused,
  // which a browser does not tell.
  get temporary() {
    return !/CERT|UNABLE_TO_VERIFY/.test(this.cause.cause?.code ?? "");
  }
}

// isLost: fetch rejects with a TypeError if the connection fails, and a body that is cut
// short is no JSON.
export function isLost(err) {
  return err instanceof TypeError || err instanceof SyntaxError || err.name === "TimeoutError";
}
