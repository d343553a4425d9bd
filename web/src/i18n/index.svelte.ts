/** The language of the page: the words, and how numbers, sizes and times are written. */

import { de } from "./de";
import { en, type Messages } from "./en";

export const LANGUAGES = { en, de } satisfies Record<string, Messages>;
export type Language = keyof typeof LANGUAGES;

const PLACE = "lair.language";

function initial(): Language {
  const kept = localStorage.getItem(PLACE);
  if (kept && kept in LANGUAGES) return kept as Language;
  return navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
}

class Words {
  language = $state<Language>(initial());
  /** The words of the language. */
  t = $derived<Messages>(LANGUAGES[this.language]);

  choose(language: Language): void {
    this.language = language;
    localStorage.setItem(PLACE, language);
    document.documentElement.lang = language;
  }

  number(value: number, digits = 0): string {
    return value.toLocaleString(this.language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  /** Bytes as people say them, in steps of a thousand. */
  size(bytes: number): string {
    const units = ["B", "kB", "MB", "GB", "TB"];
    const step = bytes > 0 ? Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3)) : 0;
    const value = bytes / 1000 ** step;
    return `${this.number(value, step > 0 && value < 100 ? 1 : 0)} ${units[step]}`;
  }

  duration(milliseconds: number): string {
    if (milliseconds < 950) return `${this.number(milliseconds)} ms`;
    if (milliseconds < 60_000) return `${this.number(milliseconds / 1000, 1)} s`;
    return `${Math.floor(milliseconds / 60_000)} min ${this.number((milliseconds / 1000) % 60)} s`;
  }

  time(milliseconds: number): string {
    return new Date(milliseconds).toLocaleString(this.language, { dateStyle: "medium", timeStyle: "short" });
  }
}

export const words = new Words();
document.documentElement.lang = words.language;
