import { isDeepStrictEqual } from 'node:util'
import type { Database } from './database.ts'
import type { HistoryEntry } from './history.ts'
import type { LoggedEvent } from './topic.ts'

export type Evidence = {
  readonly history: readonly HistoryEntry[]
  /** Who was in which room from its beginning to the end. */
  readonly views: readonly { readonly user: string; readonly room: string }[]
  readonly topic: ReadonlyMap<string, readonly LoggedEvent[]>
  readonly positions: Database['positions']
  readonly database: Database
}

type Entry<W extends HistoryEntry['what']> = Extract<HistoryEntry, { readonly what: W }>

/** What is wrong, in words; empty: acked = seen = Postgres = topic, gapless, each message once. */
export function check(evidence: Evidence): string[] {
  return [...checkTopic(evidence), ...checkDatabase(evidence), ...checkClients(evidence)]
}

/** Every room is 1 … n, and no sender's message is in it twice. */
function* checkTopic({ topic, views }: Evidence): Iterable<string> {
  for (const roomId of new Set(views.map(({ room }) => room))) if (!topic.has(roomId)) yield `${roomId} is not in the topic`
  for (const [roomId, events] of topic) {
    const seqs = events.map(({ seq }) => seq)
    const hole = seqs.findIndex((seq, i) => seq !== i + 1)
    if (hole >= 0) yield `${roomId} in the topic: seq ${seqs[hole]} where ${hole + 1} was due`
    const messages = events.flatMap(({ message }) => message ?? [])
    const ids = new Set<string>()
    for (const [i, { senderId, id, index }] of messages.entries()) {
      if (ids.has(`${senderId} ${id}`)) yield `${roomId} in the topic: message ${id} of ${senderId} twice`
      ids.add(`${senderId} ${id}`)
      if (index !== i + 1) yield `${roomId} in the topic: message index ${index} where ${i + 1} was due`
    }
    const back = events.findIndex(({ timestamp }, i) => i > 0 && timestamp < events[i - 1]!.timestamp)
    if (back >= 0) yield `${roomId} in the topic: time runs back at seq ${back + 1}`
  }
}

/** Postgres is the fold of the whole log. */
function* checkDatabase({ topic, positions, database }: Evidence): Iterable<string> {
  for (const roomId of new Set([...topic.keys(), ...database.rooms.keys()])) {
    const [logged, stored] = [topic.get(roomId) ?? [], database.rooms.get(roomId) ?? []]
    const at = Array.from({ length: Math.max(logged.length, stored.length) }).findIndex((_, i) => !isDeepStrictEqual(logged[i], stored[i]))
    if (at >= 0) yield `${roomId} in Postgres at ${at + 1}: ${text(stored[at])}, in the topic: ${text(logged[at])}`
    const head = { head: logged.length, messages: logged.filter(({ message }) => message).length }
    if (!isDeepStrictEqual(database.heads.get(roomId), head)) yield `${roomId} in chat_rooms: ${text(database.heads.get(roomId))}, not ${text(head)}`
  }
  for (const [partition, { next, epoch }] of positions) {
    const stored = database.positions.get(partition)
    // A partition in which nothing ever happened may have no row yet.
    if (next > 0n && (stored?.next !== next || stored.epoch !== epoch)) {
      yield `persisted_offsets of ${partition}: ${stored?.next} in epoch ${stored?.epoch}, the topic ends at ${next} in epoch ${epoch}`
    }
  }
}

function* checkClients({ history, views, topic }: Evidence): Iterable<string> {
  const sent = new Map<string, Entry<'send'>>()
  for (const entry of history) if (entry.what === 'send') sent.set(entry.id, entry)
  const acks = Map.groupBy(history.filter((entry) => entry.what === 'ack'), ({ id }) => id)
  const failed = new Map(history.flatMap((entry) => (entry.what === 'failed' ? [[entry.id, entry.code]] : [])))
  for (const entry of history) if (entry.what === 'anomaly') yield `${entry.user} in ${entry.room}: ${entry.text}`
  const changes = new Map(history.flatMap((entry) => (entry.what === 'change' ? [[entry.id, entry] as const] : [])))
  for (const { id, user, room, what } of [...sent.values(), ...changes.values()]) {
    const name = what === 'send' ? 'message' : 'change'
    if (failed.has(id)) yield `${user} in ${room}: ${name} ${id} failed with ${failed.get(id)}`
    else if (!acks.has(id)) yield `${user} in ${room}: ${name} ${id} was never acked`
  }
  yield* checkChanges(acks, changes, topic)
  yield* checkAcks(new Map([...acks].filter(([id]) => !changes.has(id))), sent, topic)
  yield* checkSeen(history, views, topic)
  const users = new Set(history.map(({ user }) => user))
  for (const [roomId, events] of topic) {
    for (const { message } of events) {
      if (message && users.has(message.senderId) && sent.get(message.id)?.text !== message.text) yield `${roomId}: ${message.senderId} never sent message ${message.id} like this`
    }
  }
}

/** What was asked for once has happened once, where its ack says. */
function* checkChanges(acks: ReadonlyMap<string, readonly Entry<'ack'>[]>, changes: ReadonlyMap<string, Entry<'change'>>, topic: Evidence['topic']): Iterable<string> {
  for (const [room, events] of topic) {
    const ids = events.flatMap(({ id, change }) => (id === undefined ? [] : [`${String(change?.['by'])} ${id}`]))
    if (new Set(ids).size !== ids.length) yield `${room} in the topic: a change twice`
  }
  for (const { id, user, room, type } of changes.values()) {
    for (const { seq, unchanged } of acks.get(id) ?? []) {
      const event = topic.get(room)?.[seq - 1]
      const isHis = type === 'mark' ? event?.change?.['userId'] === user : event?.id === id && event.change?.['by'] === user
      if (!unchanged && !isHis) yield `${user} in ${room}: ${type} ${id} was acked as seq ${seq}, where the topic has ${text(event)}`
    }
  }
}

/** An ack is for ever, and the same each time. */
function* checkAcks(acks: ReadonlyMap<string, readonly Entry<'ack'>[]>, sent: ReadonlyMap<string, Entry<'send'>>, topic: Evidence['topic']): Iterable<string> {
  for (const [id, [first, ...others]] of acks) {
    const { user, room, seq, messageId, timestamp } = first!
    const event = topic.get(room)?.[seq - 1]
    const { message } = event ?? {}
    if (!event || message?.id !== id || message.messageId !== messageId || message.senderId !== user || event.timestamp !== timestamp) {
      yield `${user} in ${room}: ${id} was acked as seq ${seq} (${messageId}, ${timestamp}), where the topic has ${text(event)}`
    }
    if (!sent.has(id)) yield `${user} in ${room}: an ack of ${id}, which was never sent`
    for (const ack of others) {
      if (ack.seq !== seq || ack.messageId !== messageId || ack.timestamp !== timestamp) yield `${user} in ${room}: ${id} acked as seq ${seq}, then as seq ${ack.seq}`
    }
  }
}

/** Everybody saw exactly 1 … head, each once and in order. */
function* checkSeen(history: readonly HistoryEntry[], views: Evidence['views'], topic: Evidence['topic']): Iterable<string> {
  const textsOf = new Map([...topic].map(([room, events]) => [room, laterTexts(events)]))
  const byView = Map.groupBy(history.filter((entry) => entry.what === 'saw'), ({ user, room }) => `${user} in ${room}`)
  for (const { user, room } of views) {
    const who = `${user} in ${room}`
    const seen = byView.get(who) ?? []
    const logged = topic.get(room) ?? []
    const at = Array.from({ length: Math.max(seen.length, logged.length) }).findIndex((_, i) => !isDeepStrictEqual(shown(seen[i]), expected(logged[i], user, seen[i], textsOf.get(room))))
    if (at >= 0) yield `${who} saw ${seen.length} events; at ${at + 1} ${text(shown(seen[at]))}, where the topic has ${text(expected(logged[at], user))}`
  }
}

const shown = (saw: Entry<'saw'> | undefined) => saw && { seq: saw.seq, type: saw.type, timestamp: saw.timestamp, message: saw.message, change: saw.change }

/** By the message's seq: the texts of its edits, and null where it was deleted. */
type LaterTexts = ReadonlyMap<number, readonly (string | null)[]>

function laterTexts(events: readonly LoggedEvent[]): LaterTexts {
  const texts = new Map<number, (string | null)[]>()
  for (const { type, change, text: edited } of events) {
    if (type !== 'messageEdited' && type !== 'messageDeleted') continue
    const seq = change!['messageSeq'] as number
    texts.set(seq, [...(texts.get(seq) ?? []), edited ?? null])
  }
  return texts
}

/** A message may be shown with any text that it had, as it was known then, and with none once it was deleted. */
function expected(event: LoggedEvent | undefined, user: string, saw?: Entry<'saw'>, texts?: LaterTexts): ReturnType<typeof shown> {
  if (!event) return undefined
  const { seq, type, timestamp, message, change } = event
  if (event.hidden && change?.['userId'] !== user) return { seq, type: 'private', timestamp, message: undefined, change: undefined }
  const isLater = saw?.message !== undefined && (texts?.get(seq)?.includes(saw.message.text) ?? false)
  return { seq, type, timestamp, message: message && { id: message.id, messageId: message.messageId, senderId: message.senderId, text: isLater ? saw.message!.text : message.text }, change }
}

const text = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? v.toString() : v)))
