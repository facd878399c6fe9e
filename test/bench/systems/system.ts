import type { ConnectOrder } from '../generator/messages.ts'
import type { Pids } from '../procfs.ts'

/** How one end of every room is to be opened. */
export type End = Pick<ConnectOrder, 'protocol' | 'links' | 'kafka'>

/** One room, two people, each on another instance: the first sends, the other hears it. */
export type Rooms = { readonly senders: End; readonly receivers: End }

/** What is measured: running between `start` and `stop`, any number of times. */
export type System = {
  readonly name: string
  start(): Promise<void>
  stop(): Promise<void>
  /** New rooms under names that begin with `prefix`, each open for its two people. */
  openRooms(count: number, prefix: string): Promise<Rooms>
  /** All processes whose CPU it costs. */
  pids(): Pids
}
