/**
 * One spelling for all that look the same or differ in what nobody hears: full-width and other compatibility forms, case,
 * accents, and characters that are not seen at all.
 */
export function fold(text: string): string {
  if (isAscii(text)) return text.toLowerCase()
  const plain = text.normalize('NFKC').replaceAll(UNSEEN, '')
  // By way of capitals, so that ß, ſ and the dotless ı are what they are written as there.
  return plain.toUpperCase().toLowerCase().normalize('NFD').replaceAll(ACCENTS, '').replaceAll('ς', 'σ').normalize('NFC')
}

/** Zero-width spaces and joiners, soft hyphens, variation selectors, directions. */
const UNSEEN = /[\p{Default_Ignorable_Code_Point}\p{Cf}]/gu
/** Marks that any script may have on its letters; the vowel signs of a script are letters of it, and so is its voicing. */
const ACCENTS = /(?![\u3099\u309a])(?=\p{M})\p{Script=Inherited}/gu

export const withoutUnseen = (text: string): string => (isAscii(text) ? text : text.normalize('NFKC').replaceAll(UNSEEN, ''))

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false
  return true
}

/** Letters that look like Latin ones. */
const ALIKE: Readonly<Record<string, string>> = {
  // Cyrillic
  а: 'a', в: 'b', е: 'e', һ: 'h', і: 'i', ј: 'j', к: 'k', м: 'm', н: 'h', о: 'o', р: 'p', с: 'c', ѕ: 's', т: 't', у: 'y', х: 'x', ԁ: 'd', ԛ: 'q', ԝ: 'w',
  // Greek
  α: 'a', β: 'b', ε: 'e', η: 'n', ι: 'i', κ: 'k', ν: 'v', ο: 'o', ρ: 'p', σ: 's', τ: 't', υ: 'u', χ: 'x', ω: 'w',
  // Latin
  ø: 'o', ł: 'l', đ: 'd', ħ: 'h', ŧ: 't', ɑ: 'a', ɡ: 'g', ɩ: 'i',
}
const SIGNS: Readonly<Record<string, string>> = {
  '0': 'o', '1': 'il', '2': 'z', '3': 'e', '4': 'a', '5': 's', '6': 'bg', '7': 't', '8': 'b', '9': 'g',
  '@': 'a', $: 's', '!': 'il', '¡': 'i', '|': 'il', '+': 't', '€': 'e', '£': 'l', '(': 'c', '<': 'c', '¢': 'c', '#': 'h',
}

/** Letters that a folded character may stand for, beside itself. */
const lookAlikes: ReadonlyMap<string, string> = new Map([
  ...Object.entries(ALIKE),
  ...[...'abcdefghijklmnopqrstuvwxyz'].map((latin) => [latin, foreign(latin)] as const),
  ...Object.entries(SIGNS).map(([sign, letters]) => [sign, letters + [...letters].map(foreign).join('')] as const),
])

function foreign(latin: string): string {
  return Object.keys(ALIKE).filter((letter) => ALIKE[letter] === latin).join('')
}

/** `letter`: of a word, digits too. */
export type Sign = { readonly char: string; readonly kind: 'letter' | 'digit' | 'space' | 'other'; readonly standsFor: string; /** Of a script that puts no spaces between words. */ readonly unspaced: boolean }

export function signOf(char: string): Sign {
  return asciiSigns[char.length === 1 ? char.charCodeAt(0) : -1] ?? newSign(char)
}

function newSign(char: string): Sign {
  const kind = /[\p{L}\p{M}]/u.test(char) ? 'letter' : /\p{N}/u.test(char) ? 'digit' : /[\s\p{Z}]/u.test(char) ? 'space' : 'other'
  const unspaced = kind === 'letter' && char > '\u0dff' && /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u.test(char)
  return { char, kind, standsFor: lookAlikes.get(char) ?? '', unspaced }
}

const asciiSigns: readonly Sign[] = Array.from({ length: 128 }, (_, code) => newSign(String.fromCharCode(code)))
