import { isDeepStrictEqual } from 'node:util'
import { topics } from '#libs/streams/topics.ts'
import type { Servers } from '../world/servers.ts'
import type { Tables } from '../world/tables.ts'
import { foldRoom, type RoomFold } from './room-fold.ts'
import type { Truth, TrueRoom } from './truth.ts'

const topic = topics.roomEvents.name

/** Postgres says what the valid log says, all of it, once each. */
export function checkPostgres({ world, kafka, postgres: { tables } }: Servers, truth: Truth): void {
  const fail = (message: string) => world.fail('postgres', message)
  for (let p = 0; p < kafka.partitions; p++) {
    const row = tables.offsets.rows.get(`${topic}/${p}`)
    const { high } = kafka.log(topic, p)
    const inputs = truth.inputsBelow(p, high)
    if ((row?.nextOffset ?? 0) !== high) fail(`partition ${p} stands at ${row?.nextOffset}, the log ends at ${high}`)
    if (row && row.ownerEpoch !== truth.epochBelow(p, high)) fail(`partition ${p} has epoch ${row.ownerEpoch}, the log ${truth.epochBelow(p, high)}`)
    const sources = JSON.parse(row?.lastSources ?? '{}') as Record<string, string>
    for (const [name, next] of inputs) if (Number(sources[name] ?? -1) !== next - 1) fail(`partition ${p} has applied ${name}:${sources[name]}, the log ${next - 1}`)
  }
  const count: Record<Counted, number> = { events: 0, messages: 0, contents: 0, members: 0, changes: 0, reactions: 0, receipts: 0, invitations: 0, blocks: 0, reports: 0 }
  for (const [roomId, room] of truth.rooms) {
    if (room.events.length === 0) continue
    const fold = foldRoom(room.events)
    count.events += room.events.length
    count.messages += room.states.at(-1)!.state.messageCount
    count.members += fold.participants.size
    for (const name of ['contents', 'changes', 'reactions', 'receipts', 'invitations', 'blocks', 'reports'] as const) count[name] += fold[name].size
    const difference = roomDifference(roomId, room, fold, tables) ?? eventsDifference(roomId, room, fold, tables) ?? restDifference(roomId, fold, tables)
    if (difference) fail(`room ${roomId}: ${difference}`)
  }
  // Nothing beside: not of rooms that are not, and nothing that was taken back.
  for (const [name, due] of Object.entries(count)) {
    const { size } = tables[name as Counted].rows
    if (size !== due) fail(`has ${size} ${name}, the log ${due}`)
  }
}

type Counted = 'events' | 'messages' | 'contents' | 'members' | 'changes' | 'reactions' | 'receipts' | 'invitations' | 'blocks' | 'reports'

function roomDifference(roomId: string, { states, events }: TrueRoom, fold: RoomFold, tables: Tables): string | undefined {
  const state = states.at(-1)!.state
  const opened = events[0]!
  const closed = events.find((event) => event.type === 'roomClosed')
  if (opened.type !== 'roomOpened') return `begins with ${opened.type}`
  const { kind = 'order', creatorId = null, history = 'all', subjectId = null } = opened
  const due = {
    roomId,
    orderId: kind === 'order' ? roomId : null,
    isReadOnly: state.status === 'closed',
    isFrozen: fold.frozen,
    headSeq: state.headSeq,
    messageCount: state.messageCount,
    openedMs: opened.timestampMs,
    lastEventMs: events.at(-1)!.timestampMs,
    closedReason: closed?.reason ?? null,
    closedMs: closed?.timestampMs ?? null,
    closeNote: fold.closeNote,
    kind,
    creatorId,
    name: fold.name,
    metadata: fold.metadata,
    history,
    subjectId,
    mediatorInvited: fold.mediatorInvited,
  }
  const { participants = [], ...rest } = tables.rooms.rows.get(roomId) ?? {}
  if (!isDeepStrictEqual(plain(rest), plain(due))) return `is ${JSON.stringify(rest)}, the log has ${JSON.stringify(due)}`
  // As the participants' own states have it, and as the table of members does.
  const roles = new Map([...fold.participants].map(([userId, { role }]) => [userId, role]))
  if (!isDeepStrictEqual(roles, new Map<string, string>(state.participants))) return `the log has participants ${text(roles)} and ${text(state.participants)}`
  const present = new Map(participants.map(({ userId, role, sinceSeq }) => [userId as string, { role, sinceSeq }]))
  if (!isDeepStrictEqual(present, fold.participants)) return `has participants ${JSON.stringify(participants)}, the log ${text(fold.participants)}`
  const members = new Map(rowsOf(tables.members.rows, roomId).map(({ userId, role, sinceSeq }) => [userId, { role, sinceSeq }]))
  return isDeepStrictEqual(members, fold.participants) ? undefined : `has members ${text(members)}, the log ${text(fold.participants)}`
}

/** Avro's maps have a prototype of their own. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
const text = (entries: Iterable<unknown>): string => JSON.stringify([...entries])
const rowsOf = <Row extends { readonly roomId: string }>(rows: ReadonlyMap<string, Row>, roomId: string): Row[] => [...rows.values()].filter((row) => row.roomId === roomId)

function eventsDifference(roomId: string, { events, offsets, partition }: TrueRoom, fold: RoomFold, tables: Tables): string | undefined {
  for (const [i, event] of events.entries()) {
    const key = `${roomId} ${event.seq}`
    const row = tables.events.rows.get(key)
    if (!row || row.type !== event.type || row.offset !== offsets[i] || row.partition !== partition || row.atMs !== event.timestampMs) return `seq ${event.seq} is ${JSON.stringify(row)}, the log has ${JSON.stringify(event)} @${offsets[i]}`
    const content = tables.contents.rows.get(key)
    if (!isDeepStrictEqual(content, fold.contents.get(event.seq))) return `the content of ${event.seq} is ${JSON.stringify(content)}, the log has ${JSON.stringify(event)}`
    if ('content' in event && /"(content|salt|payload)":/.test(row.body)) return `the audit of ${event.seq} says what was said: ${row.body}`
    if (event.type !== 'messageSent') continue
    const message = tables.messages.rows.get(key)
    const isEqual =
      message?.messageId === event.messageId &&
      message.clientMessageId === event.clientMessageId &&
      message.senderId === event.senderId &&
      message.messageIndex === event.messageIndex &&
      message.messageType === (event.messageType ?? null) &&
      message.replyToSeq === (event.replyToSeq ?? null)
    if (!isEqual) return `message ${event.seq} is ${JSON.stringify(message)}, the log has ${JSON.stringify(event)}`
  }
  return undefined
}

function restDifference(roomId: string, fold: RoomFold, tables: Tables): string | undefined {
  const pairs = {
    changes: [new Map(rowsOf(tables.changes.rows, roomId).map(({ messageSeq, revision, contentSeq, deletedSeq, redacted }) => [messageSeq, { revision, contentSeq, deletedSeq, redacted }])), fold.changes],
    reactions: [new Map(rowsOf(tables.reactions.rows, roomId).map(({ messageSeq, userId, emoji, seq }) => [`${messageSeq} ${userId} ${emoji}`, seq])), fold.reactions],
    receipts: [new Map(rowsOf(tables.receipts.rows, roomId).map(({ userId, delivered, seen, hidden }) => [userId, { delivered, seen, hidden }])), fold.receipts],
    invitations: [new Map(rowsOf(tables.invitations.rows, roomId).map(({ userId, seq }) => [userId, seq])), fold.invitations],
    reports: [new Map(rowsOf(tables.reports.rows, roomId).map(({ seq, messageSeq, messageId, reporterId, reason, note }) => [seq, { messageSeq, messageId, reporterId, reason, note }])), fold.reports],
    blocks: [new Set(rowsOf(tables.blocks.rows, roomId).map(({ blockerId, blockedId }) => `${blockerId} ${blockedId}`)), fold.blocks],
  } as const
  for (const [name, [has, due]] of Object.entries(pairs)) if (!isDeepStrictEqual(has, due)) return `has ${name} ${text(has)}, the log ${text(due)}`
  return undefined
}
