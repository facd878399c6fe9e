import type { HistoryRule, Metadata, Participant, Receipt, RoomKind } from '#libs/domain/room.ts'

export type OffsetsRow = { readonly topic: string; readonly partition: number; readonly nextOffset: number; readonly ownerEpoch: number; readonly lastSources: string }
export type RoomRow = {
  readonly roomId: string
  readonly participants: readonly (Participant & { readonly sinceSeq: number })[]
  readonly isReadOnly: boolean
  readonly isFrozen: boolean
  readonly headSeq: number
  readonly messageCount: number
  readonly openedMs: number
  readonly lastEventMs: number
  readonly closedReason: string | null
  readonly closedMs: number | null
  readonly closeNote: string | null
  readonly orderId: string | null
  readonly kind: RoomKind
  readonly creatorId: string | null
  readonly name: string | null
  readonly metadata: Metadata
  readonly history: HistoryRule
  readonly subjectId: string | null
  readonly mediatorInvited: boolean
}
export type MemberRow = { readonly roomId: string; readonly userId: string; readonly role: Participant['role']; readonly sinceSeq: number }
export type MessageRow = { readonly roomId: string; readonly seq: number; readonly messageId: string; readonly clientMessageId: string; readonly senderId: string; readonly messageIndex: number; readonly sentMs: number; readonly messageType: string | null; readonly replyToSeq: number | null }
export type ContentRow = { readonly content: string; readonly salt: string; readonly payload: string | null }
export type EventRow = { readonly roomId: string; readonly seq: number; readonly type: string; readonly atMs: number; readonly body: string; readonly partition: number; readonly offset: number }
export type ChangeRow = { readonly roomId: string; readonly messageSeq: number; readonly revision: number; readonly contentSeq: number; readonly deletedSeq: number | null; readonly redacted: string | null }
export type ReactionRow = { readonly roomId: string; readonly messageSeq: number; readonly userId: string; readonly emoji: string; readonly seq: number }
export type ReceiptRow = { readonly roomId: string; readonly userId: string } & Receipt
export type InvitationRow = { readonly roomId: string; readonly userId: string; readonly seq: number }
export type BlockRow = { readonly roomId: string; readonly blockerId: string; readonly blockedId: string }
export type SettingsRow = { readonly hideReceipts: boolean; readonly hideLastSeen: boolean }

export type UserHeadRow = { readonly userSeq: number; readonly unread: number; readonly mentions: number; readonly chats: number }
export type ReportRow = { readonly roomId: string; readonly seq: number; readonly messageId: string; readonly messageSeq: number; readonly reporterId: string; readonly reason: string; readonly note: string | null; readonly reportedMs: number }
/** By column. */
export type UserChatRow = Readonly<Record<string, any>>

/** A duplicate key as node-postgres reports it. */
class UniqueViolation extends Error {
  readonly code = '23505'
  readonly detail: string

  constructor(detail: string) {
    super('duplicate key value violates unique constraint')
    this.detail = detail
  }
}

/** Rows by key; they are never changed, only replaced. */
export class Table<Row> {
  readonly rows: Map<string, Row>

  constructor(rows: Iterable<readonly [string, Row]> = []) {
    this.rows = new Map(rows)
  }

  insert(key: string, row: Row): void {
    if (this.rows.has(key)) throw new UniqueViolation(`Key (${key}) already exists.`)
    this.rows.set(key, row)
  }
}

/** What schemas/postgres makes, as far as chat writes and reads it. */
export class Tables {
  offsets = new Table<OffsetsRow>()
  rooms = new Table<RoomRow>()
  members = new Table<MemberRow>()
  receipts = new Table<ReceiptRow>()
  readonly messages = new Table<MessageRow>()
  /** The seq by room and messageId. */
  readonly messageIds = new Table<number>()
  readonly contents = new Table<ContentRow>()
  readonly events = new Table<EventRow>()
  readonly changes = new Table<ChangeRow>()
  readonly reactions = new Table<ReactionRow>()
  readonly invitations = new Table<InvitationRow>()
  readonly blocks = new Table<BlockRow>()
  readonly settings = new Table<SettingsRow>()
  readonly reports = new Table<ReportRow>()
  readonly userHeads = new Table<UserHeadRow>()
  /** By user and room. */
  readonly userChats = new Table<UserChatRow>()

  /** Of what is read in a transaction of more than one statement. */
  snapshot(): Tables {
    const tables = new Tables()
    tables.offsets = new Table(this.offsets.rows)
    tables.rooms = new Table(this.rooms.rows)
    tables.receipts = new Table(this.receipts.rows)
    return tables
  }
}
