import { authorization } from "./token.js";

/** Why something was not answered or not done: words for people, and a code that does not change. */
export class Refusal extends Error {
  constructor(code, message, retry = null) {
    super(message);
    this.code = code;
    this.retry = retry;
  }
}

const NO_ANSWER = "The API does not answer. See whether the network is running: haulout status.";

/** One request as it is answered, errors included; throws when there is no answer. */
export async function request(body) {
  let response;
  try {
    response = await fetch("/graphql", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/graphql-response+json", ...authorization() },
      body: JSON.stringify(body),
    });
    return await response.json();
  } catch {
    throw new Refusal("UNREACHABLE", response ? `The API answers ${response.status}, and nothing that can be read.` : NO_ANSWER);
  }
}

/** Ask the API this page came from; what it refuses is thrown. */
export async function ask(query, variables = {}) {
  const answer = await request({ query, variables });
  if (answer.errors?.length) {
    const [error] = answer.errors;
    throw new Refusal(error.extensions?.code ?? "UNKNOWN", error.message);
  }
  return answer;
}

/** The payload of a mutation; what it refuses is thrown, as `ask` does. */
export async function change(mutation, name, input) {
  const payload = (await ask(mutation, { input })).data[name];
  if (payload.userErrors.length) {
    const [{ code, message, retry }] = payload.userErrors;
    throw new Refusal(code, message, retry);
  }
  return payload;
}
