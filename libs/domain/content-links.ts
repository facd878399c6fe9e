import tlds from 'tlds' with { type: 'json' }
import { withoutUnseen } from './text-fold.ts'

/** What is longer is the name of no host, so it is none of the allowed. */
const HOST_CHARS_MAX = 253

/** Which hosts a text may link to, and what is below them. */
export type LinkMatcher = (text: string) => boolean

/**
 * Finds a link to any other host: whatever follows `://`, and whatever a client may make a link of, also without a scheme
 * and within an address of mail: names that end in a top-level domain, and IPv4 addresses. Libraries that find links for
 * showing them leave out what is doubtful (`evil.com:8080`, `see:evil.com`), which is the wrong side for a refusal.
 */
export function linkMatcher(hosts: readonly string[]): LinkMatcher {
  const allowed = new Set(hosts.map(hostName))
  const isAllowed = (raw: string): boolean => {
    if (raw.length > HOST_CHARS_MAX) return false
    const labels = hostName(raw)?.split('.') ?? []
    return labels.some((_, i) => allowed.has(labels.slice(i).join('.')))
  }
  return (text) => withoutUnseen(text).toLowerCase().replaceAll('。', '.').split(APART).some((token) => linksElsewhere(token, isAllowed))
}

/** As a browser understands it, in punycode. */
function hostName(raw: string): string | undefined {
  const host = raw.toLowerCase().replace(/\.$/, '')
  return URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : undefined
}

/** Never within a link: what comes behind one of these begins anew, also behind the path of an allowed host. */
const APART = /[\s<>"`|“”„«»]+/u
const PATH = /[/?#]/
const HOST_END = /[\p{L}\p{M}\p{N}\]]/u
const NAME_END = /[^._-]/u

/** Up to the last character that may be its end. Not by one expression: it would begin anew at each character of a long tail. */
function trimEnd(text: string, mayEnd: RegExp): string {
  const chars = [...text]
  return chars.slice(0, chars.findLastIndex((char) => mayEnd.test(char)) + 1).join('')
}

function linksElsewhere(token: string, isAllowed: (host: string) => boolean): boolean {
  const scheme = token.indexOf('://')
  if (scheme >= 0) {
    const authority = token.slice(scheme + 3).split(/[/?#\\]/, 1)[0]!
    const host = trimEnd(authority.slice(authority.lastIndexOf('@') + 1).replace(/:\d*$/, ''), HOST_END)
    // What follows an allowed host is its path.
    if (host !== '') return !isAllowed(host) || namesElsewhere(token.slice(0, scheme), isAllowed)
  }
  return namesElsewhere(token, isAllowed)
}

function namesElsewhere(token: string, isAllowed: (host: string) => boolean): boolean {
  let end = 0
  for (const part of token.split(/[^\p{L}\p{M}\p{N}._-]/u)) {
    end += part.length + 1
    for (const name of part.split(/\.{2,}/)) {
      const host = trimEnd(name.replace(/^[._-]+/, ''), NAME_END)
      if (!isHost(host)) continue
      if (!isAllowed(host)) return true
      if (PATH.test(token.charAt(end - 1))) return false
    }
  }
  return false
}

const topLevel: ReadonlySet<string> = new Set(tlds)

function isHost(name: string): boolean {
  const labels = name.split('.')
  const last = labels.at(-1)!
  if (labels.length < 2) return false
  return topLevel.has(last) || last.startsWith('xn--') || (labels.length === 4 && labels.every((label) => /^\d{1,3}$/.test(label) && Number(label) < 256))
}
