/** Settings of a chat in the words of a Modelfile. */

import type { ChatSettings } from "../api/types";

/** Parameters under the names that Modelfiles have. */
export function parametersOf(settings: ChatSettings): Record<string, number | string[]> {
  const names = {
    temperature: "temperature", top_p: "top_p", top_k: "top_k", min_p: "min_p", repeat_penalty: "repeat_penalty",
    presence_penalty: "presence_penalty", frequency_penalty: "frequency_penalty", seed: "seed", max_tokens: "num_predict",
  } as const;
  const parameters: Record<string, number | string[]> = {};
  for (const [own, name] of Object.entries(names)) {
    const value = settings[own as keyof typeof names];
    if (value !== undefined) parameters[name] = value;
  }
  if (settings.stop?.length) parameters["stop"] = settings.stop;
  return parameters;
}

/** A Modelfile that makes a model with these settings. */
export function modelfileOf(model: string, settings: ChatSettings): string {
  const lines = [`FROM ${model}`];
  for (const [name, value] of Object.entries(parametersOf(settings))) {
    for (const one of Array.isArray(value) ? value : [value]) {
      lines.push(`PARAMETER ${name} ${typeof one === "string" ? JSON.stringify(one) : one}`);
    }
  }
  const system = settings.system ?? "";
  if (system) {
    // Three quotes hold everything but three quotes.
    lines.push(`SYSTEM """${system.replaceAll('"""', "'''")}"""`);
  }
  return `${lines.join("\n")}\n`;
}
