import { linkMatcher, type LinkMatcher } from './content-links.ts'
import { type WordMatcher, wordMatcher } from './content-words.ts'
import { contentRefusal as shapeRefusal } from './decide-parts.ts'
import { ChatError, type ErrorCode } from './errors.ts'
import type { UserId } from './ids.ts'
import { type ContentRules, DUPLICATES_MAX_MAX, DUPLICATES_WINDOW_MAX_MS, type RoomLimits } from './limits.ts'
import { parsePayload } from './payload.ts'
import type { Repeat, RoomState } from './room.ts'
import { fold } from './text-fold.ts'

/** Said of a text before it is delivered. Pure: the same for the same text, wherever it is asked. */
export type ContentCheck = (text: string, rules: ContentRules) => ErrorCode | undefined

/** In this order. */
const checks: readonly ContentCheck[] = [
  (text, rules) => (matchersOf(rules).hasBannedWord(text) ? 'content_not_allowed' : undefined),
  (text, rules) => (matchersOf(rules).linksElsewhere(text) ? 'link_not_allowed' : undefined),
]

type Matchers = { readonly hasBannedWord: WordMatcher; readonly linksElsewhere: LinkMatcher }

/** Made once for each set of rules. */
const matchers = new WeakMap<ContentRules, Matchers>()

function matchersOf(rules: ContentRules): Matchers {
  let made = matchers.get(rules)
  if (!made) matchers.set(rules, (made = { hasBannedWord: wordMatcher(rules.bannedWords), linksElsewhere: rules.linkHosts ? linkMatcher(rules.linkHosts) : () => false }))
  return made
}

/**
 * Why a message, or an edit, with this content is refused; `payload`: as it goes into the log. Edge and api ask before they
 * bother the log; the answer that counts is the log's.
 */
export function contentRefusal(content: string, limits: RoomLimits, payload?: string): ErrorCode | undefined {
  const code = shapeRefusal(content, limits, payload !== undefined)
  return code ?? textRefusal(payload === undefined ? [content] : [content, ...namesIn(payload)], limits.content)
}

/** Of whatever else people of a room are shown in somebody's words. */
export function textRefusal(texts: readonly string[], rules: ContentRules): ErrorCode | undefined {
  if (rules.bannedWords.length === 0 && !rules.linkHosts) return undefined
  for (const check of checks) {
    for (const text of texts) {
      const refusal = check(text, rules)
      if (refusal) return refusal
    }
  }
  return undefined
}

/** @throws ChatError with the code of `contentRefusal` */
export function checkContent(content: string, limits: RoomLimits, payload?: string): void {
  const refusal = contentRefusal(content, limits, payload)
  if (refusal) throw new ChatError(refusal)
}

/** What a payload shows as text. It may not have been judged yet: anything can be in it. */
function namesIn(payload: string): string[] {
  const { attachments, location } = parsePayload(payload) ?? {}
  const names = Array.isArray(attachments) ? attachments.map((attachment) => (attachment as { name?: unknown } | null)?.name) : []
  return [...names, location?.label].filter((name) => typeof name === 'string')
}

/**
 * The same for texts that differ in spelling alone. Of 32 bits, so that it does not tell the text; who meets another text
 * with the same one waits for nothing but the window.
 */
export function repeatDigest(content: string, payload = ''): string {
  const folded = fold(content)
  const letters = folded.replaceAll(/[^\p{L}\p{M}\p{N}]+/gu, '')
  let hash = 0x811c9dc5
  const take = (text: string) => {
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
    hash = Math.imul(hash ^ 0xffff, 0x01000193)
  }
  // Of signs alone they are what is said.
  take(letters === '' ? folded.trim() : letters)
  take(payload)
  return (hash >>> 0).toString(16).padStart(8, '0')
}

/** How long the sender has to wait before he may say the same once more; undefined: he may. */
export function floodWaitMs(state: RoomState, senderId: UserId, content: string, payload: string | undefined, timeMs: number, rules: ContentRules): number | undefined {
  const { duplicatesMax, duplicatesWindowMs } = rules
  const repeat = state.repeats.get(senderId)
  if (!repeat || duplicatesWindowMs === 0 || repeat.timesMs.length < duplicatesMax) return undefined
  const waitMs = repeat.timesMs.at(-duplicatesMax)! + duplicatesWindowMs - timeMs
  return waitMs > 0 && repeat.digest === repeatDigest(content, payload) ? waitMs : undefined
}

/** Of each sender what he has said last; those who were silent for longer than any window are forgotten. */
export function withRepeat(repeats: RoomState['repeats'], senderId: UserId, content: string, payload: string | undefined, timeMs: number): RoomState['repeats'] {
  const kept = new Map<UserId, Repeat>()
  for (const [userId, repeat] of repeats) if (repeat.timesMs.at(-1)! > timeMs - DUPLICATES_WINDOW_MAX_MS) kept.set(userId, repeat)
  const digest = repeatDigest(content, payload)
  const before = kept.get(senderId)
  const timesMs = before?.digest === digest ? [...before.timesMs, timeMs].slice(-DUPLICATES_MAX_MAX) : [timeMs]
  return kept.set(senderId, { digest, timesMs })
}
