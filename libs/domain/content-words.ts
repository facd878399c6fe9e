import { fold, type Sign, signOf } from './text-fold.ts'

/** Whether a text has one of the words. */
export type WordMatcher = (text: string) => boolean

type Node = { readonly id: number; readonly next: Map<string, Node>; isEnd: boolean }

/** How letters of a word follow each other: together (also with signs between them), or all of them apart. */
const styles = { open: 0, together: 1, apart: 2 } as const
type Style = (typeof styles)[keyof typeof styles]

/** Somewhere inside a word. */
type Walk = {
  readonly node: Node
  readonly style: Style
  /** Signs since the last letter. */
  readonly gap: number
  readonly hasSpace: boolean
  /** A letter of the word stands there as itself. */
  readonly literal: boolean
  /** A digit or a foreign letter stands for one: then one as itself is needed, or `455` would be a word. */
  readonly doubtful: boolean
}

const GAP_MAX = 3
/** Of the same character that count as one or more of it. */
const RUN_MIN = 3
/**
 * Places at which a text may be inside a word, counted over all of it, and what each of its characters adds. What people
 * write takes far less; what is made of `*` and ambiguous signs alone could take thousands for each character.
 */
const WALKS_MAX = 20_000
const WALKS_PER_CHAR_MAX = 12

/**
 * Finds whole words, in any case and with any accents, with unseen characters in them, with digits, signs and foreign
 * letters that look alike, with signs between the letters or spaces between all of them, with letters said three times or
 * more, and with `*` for letters within. What merely contains one passes, but in scripts that put no spaces between words.
 *
 * All words are walked at once, so the cost is the text's length times the few places at which it may be inside a word:
 * no text makes it backtrack. A text with too many such places cannot be judged, and counts as one that has a word.
 */
export function wordMatcher(words: readonly string[]): WordMatcher {
  const root = trieOf(words)
  if (root.next.size === 0) return () => false
  return (text) => hasWord(root, signsOf(fold(text)), WALKS_MAX + WALKS_PER_CHAR_MAX * text.length)
}

/** Letters and digits, with a space between the words of a phrase; empty for what has none. */
export const wordKey = (word: string): string => fold(word).replaceAll(/[^\p{L}\p{M}\p{N}]+/gu, ' ').trim()

function trieOf(words: readonly string[]): Node {
  let nodes = 0
  const newNode = (): Node => ({ id: nodes++, next: new Map(), isEnd: false })
  const root = newNode()
  for (const word of words) {
    let node = root
    for (const char of wordKey(word)) {
      let next = node.next.get(char)
      if (!next) node.next.set(char, (next = newNode()))
      node = next
    }
    if (node !== root) node.isEnd = true
  }
  return root
}

type Symbol = Sign & { readonly isLong: boolean }

/** What stands at least three times in a row is one symbol. */
function signsOf(text: string): Symbol[] {
  const chars = [...text]
  const signs: Symbol[] = []
  for (let i = 0; i < chars.length; ) {
    const char = chars[i]!
    let end = i + 1
    while (end < chars.length && chars[end] === char) end++
    const sign = signOf(char)
    if (end - i >= RUN_MIN) signs.push({ ...sign, isLong: true })
    else for (let n = i; n < end; n++) signs.push({ ...sign, isLong: false })
    i = end
  }
  return signs
}

function hasWord(root: Node, signs: readonly Symbol[], walksMax: number): boolean {
  const start: Walk = { node: root, style: styles.open, gap: 0, hasSpace: false, literal: false, doubtful: false }
  let walks: readonly Walk[] = []
  let walked = 0
  for (let i = 0; i < signs.length; i++) {
    const sign = signs[i]!
    const [before, after] = [signs[i - 1], signs[i + 1]]
    const mayBegin = before?.kind !== 'letter' || before.unspaced || sign.unspaced
    if (!mayBegin && walks.length === 0) continue
    const mayEnd = after?.kind !== 'letter' || after.unspaced || sign.unspaced
    const reached = new Map<number, Walk>()
    let found = false
    const reach = (walk: Walk) => {
      walked++
      if (walk.gap === 0 && walk.node.isEnd && mayEnd && sign.char !== '*' && (walk.literal || !walk.doubtful)) found = true
      reached.set(keyOf(walk), walk)
    }
    if (mayBegin) advance(start, sign, false, reach)
    for (const walk of walks) {
      advance(walk, sign, true, reach)
      if (sign.kind !== 'letter' && sign.kind !== 'digit' && walk.gap < GAP_MAX) reach({ ...walk, gap: walk.gap + 1, hasSpace: walk.hasSpace || sign.kind === 'space' })
      if (found || walked > walksMax) return true
    }
    if (found) return true
    walks = [...reached.values()]
  }
  return false
}

/** By all that the sign may stand for. */
function advance(walk: Walk, sign: Symbol, isWithin: boolean, reach: (walk: Walk) => void): void {
  const isWord = sign.kind === 'letter' || sign.kind === 'digit'
  if (isWord) step(walk, sign.char, sign.isLong, true, false, reach)
  for (const letter of sign.standsFor) step(walk, letter, sign.isLong, false, isWord, reach)
  if (sign.char === '*' && isWithin) for (const letter of walk.node.next.keys()) if (letter !== ' ') step(walk, letter, false, false, true, reach)
}

function step(walk: Walk, letter: string, isLong: boolean, literal: boolean, doubtful: boolean, reach: (walk: Walk) => void): void {
  const seen = { literal: walk.literal || literal, doubtful: walk.doubtful || doubtful, gap: 0, hasSpace: false }
  const go = (node: Node | undefined, style: Style) => {
    for (let next = node; next; next = isLong ? next.next.get(letter) : undefined) reach({ ...seen, node: next, style })
  }
  const isFirst = walk.node.id === 0
  const style = isFirst ? styles.open : walk.gap > 0 && walk.hasSpace ? styles.apart : styles.together
  if (isFirst || walk.style === styles.open || walk.style === style) go(walk.node.next.get(letter), style)
  // Between the words of a phrase there may be anything, or nothing.
  go(walk.node.next.get(' ')?.next.get(letter), styles.open)
}

const keyOf = ({ node, style, gap, hasSpace, literal, doubtful }: Walk): number =>
  ((((node.id * 3 + style) * (GAP_MAX + 1) + gap) * 2 + Number(hasSpace)) * 2 + Number(literal)) * 2 + Number(doubtful)
