import { decide } from '#libs/domain/decide.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { evolve } from '#libs/domain/evolve.ts'
import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomCommandBody, RoomInput } from '#libs/domain/inputs.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import type { RoomState } from '#libs/domain/room.ts'
import type { Applied, Rows } from '../rows.ts'

export const T0 = 1_700_000_000_000
export const room = (id: string) => id as RoomId
export const user = (id: string) => id as UserId
export const idAt = (nr: number) => `${T0.toString(16).padStart(12, '0').replace(/^(.{8})/, '$1-')}-7000-8000-${nr.toString(16).padStart(12, '0')}` as ClientMessageId
export const [customer, vendor] = [user('customer'), user('vendor')]

/** A command of somebody under his `nr`th id. */
export const by = (roomId: RoomId, senderId: UserId, nr: number, body: RoomCommandBody): RoomInput => ({ roomId, commandId: 'c', senderId, clientMessageId: idAt(nr), ...body })
export const accepted = { type: 'orderAccepted', orderId: room('a'), eventId: 'e', occurredAtMs: T0, customerId: customer, vendorId: vendor } satisfies RoomInput

/** The log that a room-state would have made of the inputs, and the rooms that it then has. */
export function logOf(list: readonly RoomInput[]): { applied: Applied[]; rooms: Map<RoomId, RoomState> } {
  const rooms = new Map<RoomId, RoomState>()
  const applied = list.map((input, i) => {
    const roomId = 'orderId' in input ? input.orderId : input.roomId
    const entries = decide(rooms.get(roomId), input, T0 + i * 200, defaultRoomLimits)
    for (const entry of entries) {
      const state = evolve(rooms.get(roomId), roomId, entry)
      if (state) rooms.set(roomId, state)
    }
    return { offset: BigInt(i), decision: { roomId, commandId: undefined, entries } }
  })
  return { applied, rooms }
}

type RoomTable = { kind: string; headSeq: number; messageCount: number; closed: boolean; name: string | null; metadata: object; history: string; subjectId: string | null; creatorId: string | null; invited: boolean; note: string | null }

/** Tables, as the store's SQL keeps them. */
export class Tables {
  readonly rooms = new Map<RoomId, RoomTable>()
  readonly members = new Map<string, { role: string; sinceSeq: number }>()
  readonly events = new Set<string>()
  readonly messages = new Map<string, string | null>()
  readonly contents = new Map<string, readonly [content: string, payload: string | null]>()
  readonly changes = new Map<string, readonly [revision: number, contentSeq: number, deletedSeq: number | null]>()
  readonly redactions = new Map<string, string>()
  readonly frozen = new Map<string, boolean>()
  readonly reports = new Map<string, string>()
  readonly reactions = new Map<string, number>()
  readonly receipts = new Map<string, { readonly delivered: number; readonly seen: number; readonly hidden: boolean }>()
  readonly invitations = new Map<string, number>()
  readonly blocks = new Set<string>()

  write(rows: Rows): void {
    for (const { roomId, seq } of rows.events) {
      if (this.events.has(`${roomId} ${seq}`)) throw new ChatError('duplicate_row')
      this.events.add(`${roomId} ${seq}`)
    }
    for (const { roomId, kind, name, metadata, history, subjectId, creatorId } of rows.opened) {
      this.rooms.set(roomId, { kind, headSeq: 0, messageCount: 0, closed: false, name, metadata, history, subjectId, creatorId, invited: false, note: null })
    }
    for (const { roomId, headSeq, messageCount, closed } of rows.heads) {
      const before = this.rooms.get(roomId)!
      this.rooms.set(roomId, { ...before, headSeq, messageCount: messageCount ?? before.messageCount, closed: before.closed || closed !== null })
    }
    for (const { roomId, name, metadata, mediatorInvited, closeNote } of rows.details) {
      const before = this.rooms.get(roomId)!
      this.rooms.set(roomId, { ...before, name: name === null ? before.name : name || null, metadata: metadata ?? before.metadata, invited: before.invited || mediatorInvited, note: closeNote ?? before.note })
    }
    for (const { roomId, userId } of rows.gone) this.members.delete(`${roomId} ${userId}`)
    for (const { roomId, userId, role, sinceSeq } of rows.joined) {
      const key = `${roomId} ${userId}`
      this.members.set(key, { role, sinceSeq: this.members.get(key)?.sinceSeq ?? sinceSeq })
    }
    for (const { roomId, seq, messageType, replyToSeq } of rows.messages) this.messages.set(`${roomId} ${seq}`, rows.isRich ? `${messageType} ${replyToSeq}` : null)
    for (const { roomId, seq, content, payload: own } of rows.contents) this.contents.set(`${roomId} ${seq}`, [content, rows.isRich ? (own ?? null) : null])
    for (const { roomId, messageSeq, revision, contentSeq, deletedSeq } of rows.changes) {
      const [r, c, d] = this.changes.get(`${roomId} ${messageSeq}`) ?? [0, 0, null]
      this.changes.set(`${roomId} ${messageSeq}`, [Math.max(r, revision), Math.max(c, contentSeq), d ?? deletedSeq])
    }
    for (const { roomId, messageSeq, reason } of rows.redactions) {
      if (!this.changes.has(`${roomId} ${messageSeq}`)) throw new Error('a redaction before its change')
      if (!this.redactions.has(`${roomId} ${messageSeq}`)) this.redactions.set(`${roomId} ${messageSeq}`, reason)
    }
    for (const { roomId, frozen } of rows.frozen) this.frozen.set(roomId, frozen)
    for (const { roomId, seq, messageSeq, reporterId, reason, note } of rows.reports) this.reports.set(`${roomId} ${seq}`, `${messageSeq} ${reporterId} ${reason} ${note}`)
    this.#writeWords(rows)
  }

  #writeWords({ reactions, receipts, invitations, blocks }: Rows): void {
    for (const { roomId, userId, delivered, seen, hidden } of receipts) {
      const before = this.receipts.get(`${roomId} ${userId}`)
      this.receipts.set(`${roomId} ${userId}`, { delivered: Math.max(delivered, before?.delivered ?? 0), seen: Math.max(seen, before?.seen ?? 0), hidden: hidden ?? before?.hidden ?? true })
    }
    const reaction = ({ roomId, messageSeq, userId, emoji }: Rows['reactions']['put'][number]) => `${roomId} ${messageSeq} ${userId} ${emoji}`
    for (const row of reactions.removed) this.reactions.delete(reaction(row))
    for (const row of reactions.put) this.reactions.set(reaction(row), row.seq)
    for (const { roomId, userId } of invitations.removed) this.invitations.delete(`${roomId} ${userId}`)
    for (const { roomId, userId, seq } of invitations.put) this.invitations.set(`${roomId} ${userId}`, seq)
    for (const { roomId, blockerId, blockedId } of blocks.removed) this.blocks.delete(`${roomId} ${blockerId} ${blockedId}`)
    for (const { roomId, blockerId, blockedId } of blocks.put) this.blocks.add(`${roomId} ${blockerId} ${blockedId}`)
  }
}
