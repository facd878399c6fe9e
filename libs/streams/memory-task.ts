import { ChatError } from '#libs/domain/errors.ts'
import type { Checkpoint } from './avro-shapes.ts'
import type { InputRecord, Processor } from './fenced-ports.ts'
import { FencedTask, type TaskOptions } from './fenced-task.ts'
import type { Faults, Machine, MemoryPartition } from './memory-log.ts'
import type { InRecord, OutRecord } from './record.ts'
import { OWNERSHIP_MARKER } from './topics.ts'

/** The smallest room there is: gives each new id the next number, and a repeated id the number that it has. */
export type Tally = { readonly seq: number; readonly ids: Readonly<Record<string, number>> }
export type TallyEffect = { readonly id: string; readonly effect: 'counted' | 'repeated'; readonly seq: number }

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
export const tallyInput = (id: string): Buffer => json({ id })
const noTally: Tally = { seq: 0, ids: {} }

export function decideTally(tally: Tally = noTally, id: string): TallyEffect {
  const seq = tally.ids[id]
  return seq === undefined ? { id, effect: 'counted', seq: tally.seq + 1 } : { id, effect: 'repeated', seq }
}

export function evolveTally(tally: Tally = noTally, { id, effect, seq }: TallyEffect): Tally {
  return effect === 'repeated' ? tally : { seq, ids: { ...tally.ids, [id]: seq } }
}

/** The processor of the protocol's tests: what it decides is trivial, so that only the protocol can be wrong. */
export class TallyProcessor implements Processor<InputRecord> {
  readonly rooms = new Map<string, Tally>()
  readonly #dirty = new Set<string>()

  async learn(): Promise<void> {}

  restore({ key, value }: InRecord): Checkpoint | undefined {
    const content = JSON.parse(value!.toString()) as never
    if (key === '~checkpoint') return checkpointOf(content)
    if (key !== '~sentinel') this.rooms.set(key!, content)
    return undefined
  }

  replay({ key, value }: InRecord): void {
    this.#apply(key!, JSON.parse(value!.toString()) as TallyEffect)
  }

  async prepare(records: readonly InputRecord[]): Promise<readonly InputRecord[]> {
    return records
  }

  process({ key, value }: InputRecord): OutRecord {
    const { id } = JSON.parse(value!.toString()) as { id: string }
    const effect = decideTally(this.rooms.get(key!), id)
    this.#apply(key!, effect)
    return { key, value: json(effect), headers: { 'event-type': effect.effect } }
  }

  marker(ownerId: string, nonce: string): OutRecord {
    return { key: OWNERSHIP_MARKER, value: json({ ownerId, nonce }), headers: { 'event-type': OWNERSHIP_MARKER } }
  }

  sentinel(nonce: string): OutRecord {
    return { key: '~sentinel', value: json({ nonce }), headers: {} }
  }

  snapshot({ nextOffset, ownerEpoch, inputs }: Checkpoint): readonly OutRecord[] {
    const records: OutRecord[] = [...this.#dirty].map((room) => ({ key: room, value: json(this.rooms.get(room)), headers: {} }))
    this.#dirty.clear()
    const positions = Object.fromEntries([...inputs].map(([topic, next]) => [topic, `${next}`]))
    return [...records, { key: '~checkpoint', value: json({ nextOffset: `${nextOffset}`, ownerEpoch: `${ownerEpoch}`, inputs: positions }), headers: {} }]
  }

  isDirty(): boolean {
    return this.#dirty.size > 0
  }

  #apply(room: string, effect: TallyEffect): void {
    const before = this.rooms.get(room)
    const after = evolveTally(before, effect)
    if (after === before) return
    this.rooms.set(room, after)
    this.#dirty.add(room)
  }
}

function checkpointOf({ nextOffset, ownerEpoch, inputs }: { nextOffset: string; ownerEpoch: string; inputs: Record<string, string> }): Checkpoint {
  return { nextOffset: BigInt(nextOffset), ownerEpoch: BigInt(ownerEpoch), inputs: new Map(Object.entries(inputs).map(([topic, next]) => [topic, BigInt(next)])) }
}

/** The latest committed value of every key, as the text of a checkpoint or a tally. */
export function tallySnapshots(partition: MemoryPartition): { rooms: Map<string, Tally>; checkpoint: Checkpoint | undefined } {
  const processor = new TallyProcessor()
  let checkpoint: Checkpoint | undefined
  for (const record of partition.snapshots) checkpoint = processor.restore(record) ?? checkpoint
  return { rooms: processor.rooms, checkpoint }
}

/** The reader's rule, written a second time: what is valid below `upTo`, and the epoch there. */
export function validRecords(log: readonly InRecord[], upTo = log.length): { readonly records: readonly InRecord[]; readonly epoch: bigint } {
  let epoch = -1n
  const records: InRecord[] = []
  for (const record of log.slice(0, upTo)) {
    if (`${record.headers['event-type']}` === OWNERSHIP_MARKER) epoch = record.offset
    else if (epoch >= 0n && `${record.headers['owner-epoch']}` === `${epoch}`) records.push(record)
  }
  return { records, epoch }
}

/** @throws where the valid records do not apply the inputs 0, 1, 2 … of each topic, each once and in order */
export function appliedInputs(records: readonly InRecord[]): Map<string, bigint> {
  const next = new Map<string, bigint>()
  for (const { offset, headers } of records) {
    const [topic, source] = `${headers['source']}`.split(':') as [string, string]
    const due = next.get(topic) ?? 0n
    if (BigInt(source) !== due) throw new Error(`offset ${offset} applies ${topic}:${source} where ${due} was due`)
    next.set(topic, due + 1n)
  }
  return next
}

export const testLimits = { snapshotEveryMs: 1_000, remarkEveryMs: 60_000, batchInputsMax: 10, queueHighMark: 20, queueLowMark: 5 }

/** A task on a machine, with everything of which a test says nothing. */
export function taskOn<Prepared>(machine: Machine, options: Pick<TaskOptions<Prepared>, 'createProcessor' | 'inputTopics'> & Partial<TaskOptions<Prepared>>): FencedTask<Prepared> {
  let nonces = 0
  return new FencedTask({
    ownerId: machine.name,
    log: machine.fencedLog,
    snapshots: machine.snapshotLog,
    inputs: machine.taskInputs,
    clock: machine.clock,
    newNonce: () => `${machine.name}-${nonces++}`,
    retryDelayMs: () => 10,
    confirmAssigned: async () => {},
    limits: testLimits,
    ...options,
  })
}

/** Faults of every kind, until `calm` is set. */
export function randomFaults(random: () => number): Faults & { calm: boolean } {
  const faults = {
    calm: false,
    append: () => (faults.calm || random() < 0.8 ? 'ok' : pick(random, ['applied_unknown', 'delayed', 'delayed', 'lost'] as const)),
    commit: () => (faults.calm || random() < 0.85 ? 'ok' : pick(random, ['applied_unknown', 'lost'] as const)),
    // Mostly quick; now and then one message is overtaken by a whole takeover.
    latencyMs: () => Math.floor(random() * (random() < 0.06 && !faults.calm ? 250 : 6)),
    landAfterMs: () => Math.floor(random() * 300),
    fetchRecords: () => 1 + Math.floor(random() * 8),
    compacted: () => random() < 0.5,
  }
  return faults
}

export const pick = <T>(random: () => number, from: readonly T[]): T => from[Math.floor(random() * from.length)]!

export type Rivalry<Prepared> = {
  readonly random: () => number
  readonly partition: MemoryPartition
  readonly faults: { calm: boolean }
  readonly inputTopics: readonly string[]
  readonly createProcessor: () => Processor<Prepared>
  /** Called after each commit of snapshots. @throws where they are wrong */
  readonly checkSnapshots: () => void
  /** Puts the next input into its topic; false: there are no more. */
  readonly feed: () => boolean
  readonly onTakenOver: (processor: Processor<Prepared>, epoch: bigint) => void
  readonly rounds: number
}

function collect(failures: unknown[], check: () => void): void {
  try {
    check()
  } catch (err) {
    failures.push(err)
  }
}

type Rival = { readonly machine: Machine; readonly task: FencedTask<unknown> }

/**
 * Two owners that may both believe that they own the partition, paused, crashed, stopped and started again at any step;
 * then calm, and one owner that brings it to its end. @throws what a task gave up with
 */
export async function playRivals<Prepared>(rivalry: Rivalry<Prepared>): Promise<void> {
  const { random, partition, faults, rounds, feed } = rivalry
  const { time } = partition
  const failures: unknown[] = []
  // A rival must not take what the test has found for a failed commit.
  partition.onCommitted = () => collect(failures, rivalry.checkSnapshots)
  const rivals: (Rival | undefined)[] = [undefined, undefined]
  for (let round = 0; round < rounds; round++) {
    await time.advance(random() * 40)
    const slot = random() < 0.5 ? 0 : 1
    const rival = rivals[slot]
    const dice = random()
    if (dice < 0.45) feed()
    else if (!rival) rivals[slot] = startRival(rivalry, `${slot}-${round}`, failures)
    else if (dice < 0.55) {
      rival.machine.crash()
      rivals[slot] = undefined
    } else if (dice < 0.7) rival.machine.pausedUntilMs = time.nowMs() + random() * 400
    else if (dice < 0.75) {
      void rival.task.stop()
      rivals[slot] = undefined
    }
    if (failures.length > 0) throw failures[0]
  }
  for (const rival of rivals) rival?.machine.crash()
  faults.calm = true
  while (feed());
  const { task } = startRival(rivalry, 'last', failures)
  const isDone = () => [...partition.inputs].every(([topic, records]) => (task.positions?.get(topic) ?? 0n) === BigInt(records.length))
  await time.until(() => failures.length > 0 || isDone(), 20_000)
  // What the crashed ones had sent may still fence it, or void its epoch.
  await time.advance(1_000)
  await time.until(() => failures.length > 0 || isDone(), 20_000)
  await Promise.all([task.stop(), time.advance(5_000)])
  if (failures.length > 0) throw failures[0]
}

function startRival<Prepared>({ random, partition, inputTopics, createProcessor, onTakenOver }: Rivalry<Prepared>, name: string, failures: unknown[]): Rival {
  const machine = partition.machine(name, Math.floor(random() * 2_000) - 1_000)
  let processor: Processor<Prepared>
  const task = taskOn<Prepared>(machine, {
    inputTopics,
    createProcessor: () => (processor = createProcessor()),
    retryDelayMs: () => random() * 50,
    confirmAssigned: async () => {
      if (random() < 0.3) throw new ChatError('ownership_lost', 'not confirmed')
    },
    limits: { snapshotEveryMs: 40, remarkEveryMs: 250, batchInputsMax: 3, queueHighMark: 6, queueLowMark: 2 },
    observer: {
      takenOver: (epoch) => collect(failures, () => onTakenOver(processor, epoch)),
    },
  })
  task.run().catch((err: unknown) => failures.push(err))
  return { machine, task: task as FencedTask<unknown> }
}
