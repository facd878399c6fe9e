import { isDeepStrictEqual } from 'node:util'
import { topics } from '#libs/streams/topics.ts'
import type { Servers } from '../world/servers.ts'
import type { RoomRow } from '../world/tables.ts'
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
  let events = 0
  for (const [roomId, room] of truth.rooms) {
    if (room.events.length === 0) continue
    events += room.events.length
    const difference = roomDifference(roomId, room, tables.rooms.rows.get(roomId)) ?? eventsDifference(roomId, room, tables)
    if (difference) fail(`room ${roomId}: ${difference}`)
  }
  if (tables.events.rows.size !== events) fail(`has ${tables.events.rows.size} events, the log ${events}`)
}

function roomDifference(roomId: string, { states, events }: TrueRoom, row: RoomRow | undefined): string | undefined {
  const state = states.at(-1)!.state
  const closed = events.find((event) => event.type === 'roomClosed')
  const due = {
    roomId,
    isReadOnly: state.status === 'closed',
    headSeq: state.headSeq,
    messageCount: state.messageCount,
    openedMs: events[0]!.timestampMs,
    lastEventMs: events.at(-1)!.timestampMs,
    closedReason: closed?.reason ?? null,
    closedMs: closed?.timestampMs ?? null,
  }
  const { participants = [], ...rest } = row ?? {}
  if (!isDeepStrictEqual(rest, due)) return `is ${JSON.stringify(rest)}, the log has ${JSON.stringify(due)}`
  const present = new Map(participants.map(({ userId, role }) => [userId, role]))
  return isDeepStrictEqual(present, new Map(state.participants)) ? undefined : `has participants ${JSON.stringify(participants)}, the log ${JSON.stringify([...state.participants])}`
}

function eventsDifference(roomId: string, { events, offsets, partition }: TrueRoom, tables: Servers['postgres']['tables']): string | undefined {
  for (const [i, event] of events.entries()) {
    const key = `${roomId} ${event.seq}`
    const row = tables.events.rows.get(key)
    if (!row || row.type !== event.type || row.offset !== offsets[i] || row.partition !== partition || row.atMs !== event.timestampMs) return `seq ${event.seq} is ${JSON.stringify(row)}, the log has ${JSON.stringify(event)} @${offsets[i]}`
    if (event.type !== 'messageSent') continue
    const message = tables.messages.rows.get(key)
    const content = tables.contents.rows.get(key)
    const isEqual = message?.messageId === event.messageId && message.clientMessageId === event.clientMessageId && message.senderId === event.senderId && message.messageIndex === event.messageIndex && content?.content === event.content
    if (!isEqual) return `message ${event.seq} is ${JSON.stringify(message)}, the log has ${JSON.stringify(event)}`
  }
  return undefined
}
