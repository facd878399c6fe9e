/** Where a protocol puts what it hears. Numbers are those that were sent: run and message. */
export type Ear = {
  onMessage(run: number, n: number): void
  onAck(run: number, n: number): void
  onBytes(bytes: number): void
  onTrouble(what: string): void
}

/** Open connections of one generator, by the order of their specs. */
export type Links = {
  readonly opened: number
  readonly failures: readonly string[]
  /** Openings that were refused for the time being. */
  readonly retries: number
  send(link: number, run: number, n: number, text: string): void
  close(): Promise<void>
}

/** One number for run and message, for protocols whose requests have a number of their own. */
const MESSAGES_PER_RUN_MAX = 10_000_000
export const requestIdOf = (run: number, n: number): number => run * MESSAGES_PER_RUN_MAX + n
export const ofRequestId = (id: number): { run: number; n: number } => ({ run: Math.floor(id / MESSAGES_PER_RUN_MAX), n: id % MESSAGES_PER_RUN_MAX })

/** The message's own text: `@<run>.<n>@`, filled up to `bytes`. */
export function textOf(run: number, n: number, bytes: number): string {
  return `@${run}.${n}@`.padEnd(bytes, 'abcdefghij klmnopqrst uvwxyz ')
}

/** Finds run and message in whatever frame the text came in. */
export function readStamp(frame: string, onMessage: Ear['onMessage']): boolean {
  const from = frame.indexOf('@')
  const dot = frame.indexOf('.', from)
  const end = frame.indexOf('@', dot)
  if (from < 0 || dot < 0 || end < 0) return false
  onMessage(Number(frame.slice(from + 1, dot)), Number(frame.slice(dot + 1, end)))
  return true
}
