import type { System } from './systems/system.ts'
import type { World } from './world.ts'

/** What a scenario gets. */
export type Bench = {
  readonly world: World
  readonly systems: Systems
  readonly options: BenchOptions
  readonly say: (line: string) => void
  /** Ends the run: Ctrl-C. */
  readonly signal: AbortSignal
}

/** rooms-only: order-chat without the lists of chats and the notifications. */
export type SystemName = 'order-chat' | 'rooms-only' | 'raw' | 'usual' | 'fan-out'
export type Systems = Readonly<Partial<Record<SystemName, System>>>

export type BenchOptions = {
  readonly rounds: number
  /** Of each measured rate. */
  readonly seconds: number
  readonly warmUpSeconds: number
  readonly rooms: number
  readonly rates: readonly number[]
  /** Of each step up to the highest rate. */
  readonly stepSeconds: number
  readonly idleSeconds: number
  /** Until what a start has stirred up is over. */
  readonly settleSeconds: number
  readonly followSeconds: number
  /** Idle sockets whose memory is measured. */
  readonly sockets: number
  /** Of users who go away and come back, while everybody else is told. */
  readonly presenceSeconds: number
  /** Sockets that come back at once. */
  readonly crowd: number
  /** Of the log that the persister drains. */
  readonly persistedMessages: number
  /** In the partition that is taken over. */
  readonly takeoverRooms: number
  readonly quick: boolean
}

/** One line of the table in issue and docs: what was promised, and what came out. */
export type Verdict = { readonly measure: string; readonly goal: string; readonly measured: string; readonly met: boolean | undefined }

export type Table = { readonly title: string; readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] }

export type Section = {
  readonly verdicts: readonly Verdict[]
  readonly tables: readonly Table[]
  /** Whatever a program may want to know. */
  readonly data: unknown
  /** Reasons not to believe it. */
  readonly warnings: readonly string[]
}

export type Scenario = {
  readonly name: string
  readonly estimateS: (options: BenchOptions) => number
  readonly run: (bench: Bench) => Promise<Section>
}
