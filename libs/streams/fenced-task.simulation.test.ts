import { expect, test } from 'vitest'
import { MemoryPartition, seededRandom, VirtualTime } from './memory-log.ts'
import { appliedInputs, decideTally, evolveTally, pick, playRivals, randomFaults, type Tally, tallyInput, TallyProcessor, tallySnapshots, validRecords } from './memory-task.ts'
import type { InputRecord } from './fenced-ports.ts'

const TOPICS = ['orders', 'commands']

/** The fold of the valid log, which also checks every decision. */
function foldLog(partition: MemoryPartition, upTo?: number) {
  const { records, epoch } = validRecords(partition.log, upTo)
  const rooms = new Map<string, Tally>()
  for (const { key, value, offset, headers } of records) {
    const effect = JSON.parse(value!.toString())
    const [topic, source] = `${headers['source']}`.split(':') as [string, string]
    const { id } = JSON.parse(partition.inputs.get(topic)![Number(source)]!.value!.toString())
    const due = decideTally(rooms.get(key!), id)
    if (JSON.stringify(effect) !== JSON.stringify(due)) throw new Error(`offset ${offset} decides ${JSON.stringify(effect)}, due was ${JSON.stringify(due)}`)
    rooms.set(key!, evolveTally(rooms.get(key!), effect))
  }
  return { rooms, epoch, positions: appliedInputs(records) }
}

/** What a takeover would restore now is the fold of the log so far. */
function checkSnapshots(partition: MemoryPartition): void {
  const { rooms, checkpoint } = tallySnapshots(partition)
  if (!checkpoint) return
  const fold = foldLog(partition, Number(checkpoint.nextOffset))
  expect(checkpoint.nextOffset <= BigInt(partition.log.length), 'a checkpoint beyond the log').toBe(true)
  expect(checkpoint.ownerEpoch, 'the epoch of the checkpoint').toBe(fold.epoch)
  expect(checkpoint.inputs, 'the positions of the checkpoint').toEqual(fold.positions)
  expect(rooms, 'the snapshots').toEqual(fold.rooms)
}

test.each(Array.from({ length: 200 }, (_, i) => i + 1))('rivals leave a log that applies every input once and in order (seed %i)', async (seed) => {
  const random = seededRandom(seed)
  const faults = randomFaults(random)
  const partition = new MemoryPartition(new VirtualTime(), faults)
  for (const topic of TOPICS) partition.inputs.set(topic, [])
  let left = 40
  await playRivals<InputRecord>({
    random,
    partition,
    faults,
    inputTopics: TOPICS,
    createProcessor: () => new TallyProcessor(),
    checkSnapshots: () => checkSnapshots(partition),
    feed: () => {
      if (left-- <= 0) return false
      partition.addInput(pick(random, TOPICS), pick(random, ['A', 'B', 'C']), tallyInput(`id-${Math.floor(random() * 12)}`))
      return true
    },
    onTakenOver: (processor, epoch) => {
      // Who has been superseded already may have restored anything: nothing that he decides will be valid.
      if (validRecords(partition.log).epoch !== epoch) return
      expect((processor as TallyProcessor).rooms, 'what was restored').toEqual(foldLog(partition).rooms)
    },
    rounds: 60,
  })
  const fold = foldLog(partition)
  for (const topic of TOPICS) expect(fold.positions.get(topic) ?? 0n).toBe(BigInt(partition.inputs.get(topic)!.length))
  expect(tallySnapshots(partition).rooms).toEqual(fold.rooms)
})
