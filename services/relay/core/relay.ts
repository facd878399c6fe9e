import { clientMessageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import type { Fact, Word } from './facts.ts'

/** The tables of one Postgres, each answer as of some moment after the question. @throws ChatError `unavailable` */
export type RelayStore = {
  /** Keeps what was said, unless something later is kept. Durable, and seen by every later question, once it resolves. */
  remember(words: readonly Word[]): Promise<void>
  /** Of what was said among these people, the last words. */
  wordsAmong(userIds: readonly UserId[]): Promise<readonly Word[]>
  /** Those of them of whom, or by whom, anything was ever said. */
  concerned(userIds: readonly UserId[]): Promise<ReadonlySet<UserId>>
  /** Open rooms, but direct ones, that both are in. */
  commonRooms(words: readonly Word[]): Promise<readonly { readonly word: Word; readonly roomId: RoomId }[]>
  people(roomIds: readonly RoomId[]): Promise<ReadonlyMap<RoomId, ReadonlySet<UserId>>>
  /** By partition of the log: what is below is in the tables. */
  persisted(): Promise<ReadonlyMap<number, bigint>>
}

export type RelayPorts = {
  readonly store: RelayStore
  /** The log's high watermarks, by partition. */
  readonly heads: () => Promise<readonly bigint[]>
  /** Resolves when the command is durable. */
  readonly send: (command: RoomCommand, traceparent: string | undefined) => Promise<void>
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  readonly nowMs: () => number
  readonly onWaited?: (tookMs: number) => void
}

const POLL_MS = 50
const SENDS_AT_ONCE = 1_000

type Outgoing = { readonly fact: Fact; readonly roomId: RoomId; readonly word: Word }

/**
 * Passes blocks on from the rooms of pairs to the other rooms that both are in. Resolves when every command is durable;
 * the same facts again make the same commands, which change nothing.
 *
 * A block is said and a room is entered at the same time, in two partitions, and read by two of us: one of the two must
 * see the other. Who reads the word (1) remembers it, (2) then asks where the log ends, (3) waits until Postgres holds all
 * up to there, and (4) looks for common rooms. Who reads the entrance looks for remembered words. If it looks after
 * (1), it finds the word. If it looks before, the entrance was in the log before (2), so (4) finds the room. The frequent
 * side waits for nothing.
 *
 * Both may find each other, in any order, and what was found may be sent late: each command carries the time of its
 * word, and a room keeps the last one (`decideBlock`), so lifted blocks are passed on to everybody who enters too.
 */
export async function relayFacts(ports: RelayPorts, facts: readonly Fact[], signal: AbortSignal): Promise<number> {
  const outgoing = [...(await ofWords(ports, facts, signal)), ...(await ofOpenings(ports, facts)), ...(await ofEntrances(ports, facts, signal))]
  for (let from = 0; from < outgoing.length; from += SENDS_AT_ONCE) {
    await Promise.all(outgoing.slice(from, from + SENDS_AT_ONCE).map((one) => ports.send(commandOf(one), one.fact.traceparent)))
  }
  return outgoing.length
}

async function ofWords(ports: RelayPorts, facts: readonly Fact[], signal: AbortSignal): Promise<Outgoing[]> {
  // In a pair's room each is later than the one before.
  const last = new Map(facts.flatMap((fact) => (fact.kind === 'said' ? [[pairOf(fact.word), { fact, word: fact.word }]] : [])))
  if (last.size === 0) return []
  const { store, heads } = ports
  const words = [...last.values()].map(({ word }) => word)
  await store.remember(words)
  await untilPersisted(ports, new Map((await heads()).entries()), signal)
  const rooms = await store.commonRooms(words)
  return rooms.map(({ word, roomId }) => ({ ...last.get(pairOf(word))!, roomId }))
}

async function ofOpenings({ store }: RelayPorts, facts: readonly Fact[]): Promise<Outgoing[]> {
  const openings = facts.filter((fact) => fact.kind === 'opened')
  const words = await wordsAmong(store, openings.flatMap(({ userIds }) => userIds))
  if (words.length === 0) return []
  return openings.flatMap((fact) => {
    const inside = new Set(fact.userIds)
    return words.filter((word) => isAmong(inside, word)).map((word) => ({ fact, roomId: fact.roomId, word }))
  })
}

async function ofEntrances(ports: RelayPorts, facts: readonly Fact[], signal: AbortSignal): Promise<Outgoing[]> {
  const all = facts.filter((fact) => fact.kind === 'entered')
  if (all.length === 0) return []
  const { store } = ports
  const concerned = await store.concerned([...new Set(all.map(({ userId }) => userId))])
  const entrances = all.filter(({ userId }) => concerned.has(userId))
  if (entrances.length === 0) return []
  // Whom they meet there is in Postgres, so far as he came before.
  await untilPersisted(ports, new Map(entrances.map(({ partition, offset }) => [partition, offset + 1n])), signal)
  const people = await store.people([...new Set(entrances.map(({ roomId }) => roomId))])
  const words = await wordsAmong(store, [...people.values()].flatMap((inside) => [...inside]))
  return entrances.flatMap((fact) => {
    const inside = people.get(fact.roomId) ?? new Set()
    const concerns = (word: Word) => isAmong(inside, word) && (fact.userId === word.blockerId || fact.userId === word.blockedId)
    return words.filter(concerns).map((word) => ({ fact, roomId: fact.roomId, word }))
  })
}

async function wordsAmong(store: RelayStore, userIds: readonly UserId[]): Promise<readonly Word[]> {
  return userIds.length === 0 ? [] : store.wordsAmong([...new Set(userIds)])
}

const isAmong = (people: ReadonlySet<UserId>, { blockerId, blockedId }: Word): boolean => people.has(blockerId) && people.has(blockedId)

/** @throws the signal's reason */
async function untilPersisted({ store, sleep, nowMs, onWaited }: RelayPorts, ends: ReadonlyMap<number, bigint>, signal: AbortSignal): Promise<void> {
  const startedMs = nowMs()
  for (;;) {
    const persisted = await store.persisted()
    if ([...ends].every(([partition, end]) => (persisted.get(partition) ?? 0n) >= end)) break
    await sleep(POLL_MS, signal)
  }
  onWaited?.(nowMs() - startedMs)
}

const pairOf = ({ blockerId, blockedId }: Word): string => `${blockerId} ${blockedId}`

function commandOf({ fact: { partition, offset, index, timestampMs }, roomId, word }: Outgoing): RoomCommand {
  const id = clientMessageIdOf(`relay ${partition}:${offset}:${index} ${roomId} ${pairOf(word)}`, timestampMs)
  return { type: 'setBlock', roomId, commandId: id, senderId: word.blockerId, clientMessageId: id, ...word }
}
