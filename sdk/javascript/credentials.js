import { Client } from "./client.js";

// clientCredentials returns a source of account-level access tokens for an app. It keeps the
// newest token and gets another one before that expires. A program that runs in a browser
// must not have a secret: give it a user's token.
export function clientCredentials({ url, accountId, clientId, clientSecret }) {
  const client = new Client({ url });
  let token = "";
  let renewAt = 0;
  let pending = null; // one request at a time
  const get = async () => {
    const asked = Date.now();
    const granted = await client.request("POST", "/oauth/token", {
      body: new URLSearchParams({ grant_type: "account_credentials", account_id: accountId }),
      headers: { Authorization: "Basic " + btoa(encodeURIComponent(clientId) + ":" + encodeURIComponent(clientSecret)) },
    });
    const lasts = granted.expires_in * 1_000;
    renewAt = asked + lasts - Math.min(60_000, lasts / 10);
    token = granted.access_token;
  };
  return async (refused) => {
    if (token === "" || token === refused || Date.now() >= renewAt) {
      pending ??= get().finally(() => { pending = null; });
      await pending;
    }
    return token;
  };
}
