// Sets the status of a user, and reads it: with the types of the OpenAPI document.
import createClient from "openapi-fetch";
import type { components, paths } from "./porchlight.js";

type Claim = components["schemas"]["SetClaim"];

const client = createClient<paths>({
  baseUrl: process.env.PORCHLIGHT_URL,
  headers: { Authorization: `Bearer ${process.env.PORCHLIGHT_TOKEN}` },
});
const user = "ada.okafor@example.com";
const body: Claim = { source: "manual", status: "do_not_disturb", duration_seconds: 1200 };
const set = await client.PUT("/v1/users/{user}/claims/{claim}", { params: { path: { user, claim: "manual" } }, body });
if (set.error) throw new Error(set.error.what_to_do);
const { data, error } = await client.GET("/v1/users/{user}/presence", { params: { path: { user } } });
if (error) throw new Error(error.title);
console.log(data.status);
