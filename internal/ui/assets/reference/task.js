// A request as the HTTP task of a workflow engine. No state.

import { FORM, JSON_TYPE } from "./request.js";

// task is the workflow with one task, as docs/guides/workflow.md explains it. The engine has the
// access token under the id of its credentials. With fromInput, the parameters of the path
// are those of the task's input.
export function task(op, request, fromInput) {
  const url = fromInput ? withInput(op, request.url) : request.url;
  const body = request.type && { body: bodyOf(request) };
  const contentType = request.type && { "Content-Type": request.type };
  return {
    name: op.summary,
    startTask: "Call the API",
    tasks: {
      "Call the API": {
        type: "Http",
        credentials: "CredentialsId",
        description: op.summary,
        httpRequest: { url, method: request.method, headers: { ...contentType, Accept: JSON_TYPE, ...Object.fromEntries(request.headers) }, ...body },
        retry: { intervalSeconds: 60, maxAttempts: 3, backoffRate: 1.0 },
        connectionTimeoutSeconds: 5,
        readTimeoutSeconds: 10,
        end: true,
      },
    },
  };
}

function withInput(op, url) {
  const { origin, search } = new URL(url);
  return origin + op.path.replace(/\{([^}]*)\}/g, (_, name) => "${$." + name + "}") + search;
}

function bodyOf(request) {
  if (request.type === FORM) return String(new URLSearchParams(request.fields));
  if (request.type !== JSON_TYPE) return request.text;
  try {
    return JSON.parse(request.text);
  } catch {
    return request.text; // the test of the request has told what is wrong with it
  }
}
