import type { ReceiptFields } from '#libs/domain/frames.ts'

/** messageIndexes up to which all was delivered to this user's devices, and seen by him. Seen is delivered too. */
export type Marks = { readonly delivered: number; readonly seen: number }

/**
 * How far this user has come in one room: what the server knows, and what the app has said. Pure.
 *
 * Invariants (held by marks.test.ts): each number only goes up; `next` asks for a request exactly as long as the server
 * knows less than the app has said; after any number of lost requests and answers it ends with the server knowing the
 * highest that was said, and nothing is asked above the room's count of messages.
 */
export type MarkState = {
  /** The room's messages, as far as known. Undefined before the first join. */
  readonly messageCount: number | undefined
  /** What the server said, or took without a word against it. */
  readonly known: Marks
  readonly wanted: Marks
  /** On its way: at most one request at a time. */
  readonly sent: Marks | undefined
}

const NONE: Marks = { delivered: 0, seen: 0 }
export const noMarks: MarkState = { messageCount: undefined, known: NONE, wanted: NONE, sent: undefined }

const higher = (a: Marks, b: Partial<Marks>): Marks => {
  const seen = Math.max(a.seen, b.seen ?? 0)
  return { seen, delivered: Math.max(a.delivered, b.delivered ?? 0, seen) }
}

const lower = (a: Marks, max: number): Marks => ({ seen: Math.min(a.seen, max), delivered: Math.min(a.delivered, max) })

/** The app says how far it is. What lies above the last message is not there to be seen. */
export function wanting(state: MarkState, marks: Partial<Marks>): MarkState {
  const wanted = higher(state.wanted, marks)
  return { ...state, wanted: state.messageCount === undefined ? wanted : lower(wanted, state.messageCount) }
}

/** After each join: what the server knows is what counts; what it does not know yet will be told again. */
export function joinedWith(state: MarkState, messageCount: number, own: ReceiptFields | undefined): MarkState {
  const count = Math.max(state.messageCount ?? 0, messageCount)
  const known = own ? higher(NONE, own) : NONE
  return { ...state, messageCount: count, known, wanted: higher(lower(state.wanted, count), known) }
}

/** What was on its way is lost, or was taken: the next join tells. */
export const interrupted = (state: MarkState): MarkState => ({ ...state, sent: undefined })

export const withMessage = (state: MarkState, messageIndex: number): MarkState =>
  messageIndex <= (state.messageCount ?? 0) ? state : { ...state, messageCount: messageIndex }

/** Who writes has seen up to his own message: the server counts so too, and need not be told. */
export const withOwnMessage = (state: MarkState, messageIndex: number): MarkState => moved(withMessage(state, messageIndex), { seen: messageIndex, delivered: messageIndex })

/** A receipt of this user, from whichever device. */
export function moved(state: MarkState, own: Marks): MarkState {
  const known = higher(state.known, own)
  return { ...state, known, wanted: higher(state.wanted, known) }
}

/** What to tell the server, if anything. Nothing before the first join. */
export function next({ known, wanted, sent, messageCount }: MarkState): Partial<Marks> | undefined {
  if (sent || messageCount === undefined) return undefined
  const { seen, delivered } = wanted
  if (seen > known.seen) return delivered > seen ? { seen, delivered } : { seen }
  return delivered > known.delivered ? { delivered } : undefined
}

export const sending = (state: MarkState, marks: Partial<Marks>): MarkState => ({ ...state, sent: higher(NONE, marks) })

/** taken: also where the server knows better (it never goes down). again: it was refused, and may pass later. */
export function answered(state: MarkState, outcome: 'taken' | 'again'): MarkState {
  const { sent, known } = state
  return { ...state, sent: undefined, known: outcome === 'taken' && sent ? higher(known, sent) : known }
}

/** Refused for good: as if it had never been said. */
export const refused = (state: MarkState): MarkState => ({ ...state, sent: undefined, wanted: state.known })

/** The one rule, as the server has it: messages above the seen cursor. What the app has said counts at once. */
export const unreadOf = ({ messageCount = 0, wanted }: MarkState): number => Math.max(0, messageCount - wanted.seen)
