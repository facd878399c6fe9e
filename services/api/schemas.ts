import { type TSchema, Type } from '@fastify/type-provider-typebox'
import { errorCatalogue } from '#libs/domain/errors.ts'
import { messageTypes, roles, roomKinds } from '#libs/domain/room.ts'
import { PAGE } from './core/message-page.ts'

/** What goes in and out, as JSON Schema: checked on the way in, and nothing else passes on the way out. */
const SEQ = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER - 1 } as const
export const seq = (description: string) => Type.Integer({ ...SEQ, description })
export const timeMs = (description: string) => Type.Integer({ description: `${description}; ms since 1970` })
export const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])

export const errorBody = Type.Object(
  {
    code: Type.String({ description: 'What programs go by', examples: Object.keys(errorCatalogue).slice(0, 3) }),
    message: Type.String({ description: 'For people; may change' }),
    retriable: Type.Boolean({ description: 'Whether the same request may succeed later' }),
    retryAfterMs: Type.Optional(Type.Integer({ minimum: 0 })),
  },
  { description: 'Refused: see the code' },
)
/** Every route answers its errors so. */
export const errorResponses = { '4xx': errorBody, '5xx': errorBody } as const

const ROOM_ID = '^[A-Za-z0-9._:-]{1,128}$'
export const roomId = Type.String({ pattern: ROOM_ID, description: "The room's id: for an order's room, the order's id" })
export const userId = Type.String({ pattern: '^[!-~]{1,128}$' })
export const messageId = Type.String({ format: 'uuid' })
/** Of an order, a job, a product. */
export const subjectId = Type.String({ pattern: ROOM_ID })

export const roomParams = Type.Object({ id: roomId })
export const messageParams = Type.Object({ id: roomId, messageId })

const limit = Type.Integer({ minimum: 1, maximum: PAGE.limitMax, default: PAGE.limitDefault })
export const pageLimit = Type.Optional(limit)
const cursor = Type.String({ maxLength: 256, description: '`nextCursor` of the page before' })
export const strict = { additionalProperties: false } as const

export const messagesQuery = Type.Object(
  {
    before: Type.Optional(seq('The newest messages below this seq')),
    after: Type.Optional(seq('The oldest messages above this seq: the same cursor as `since` on a WebSocket')),
    limit: Type.Optional(limit),
    waitMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: PAGE.waitMsMax,
        description: 'With `after`: while the room has nothing above it, hold the answer for up to this long',
      }),
    ),
  },
  strict,
)
export const roomsQuery = Type.Object({ cursor: Type.Optional(cursor), limit: Type.Optional(limit) }, strict)
export const repliesQuery = Type.Object({ before: messagesQuery.properties.before, after: messagesQuery.properties.after, limit: Type.Optional(limit) }, strict)
export const threadsQuery = Type.Object({ before: Type.Optional(seq('`nextBefore` of the page before')), limit: Type.Optional(limit) }, strict)
export const eventsQuery = Type.Object({ after: Type.Optional(seq('Events above this seq')), limit: Type.Optional(limit) }, strict)
export const adminRoomsQuery = Type.Object(
  {
    status: Type.Optional(Type.Union([Type.Literal('open'), Type.Literal('closed')])),
    participant: Type.Optional(Type.String({ pattern: '^[!-~]{1,128}$', description: 'A user who is in the room now' })),
    cursor: Type.Optional(cursor),
    limit: Type.Optional(limit),
  },
  strict,
)

const participant = Type.Object({ userId: Type.String(), role: Type.String({ examples: [...roles] }) })
const roomFields = {
  roomId: Type.String(),
  orderId: nullable(Type.String({ description: 'Of the room of an order' })),
  kind: Type.String({ examples: [...roomKinds] }),
  name: nullable(Type.String()),
  metadata: Type.Record(Type.String(), Type.String()),
  subjectId: nullable(Type.String({ description: 'The job that it is of; the job or order that a dispute is about' })),
  participants: Type.Array(participant, { description: 'Who is in the room now' }),
  readOnly: Type.Boolean({ description: 'Closed for writing, for ever' }),
  frozen: Type.Boolean({ description: 'By a moderator: nobody writes for now' }),
  closedReason: nullable(Type.String({ examples: ['delivered', 'cancelled', 'resolved'] })),
  closeNote: nullable(Type.String({ description: 'What was said when a dispute was resolved' })),
  headSeq: seq('The seq of the last event of any kind'),
  messageCount: seq('Messages ever sent'),
  openedAt: timeMs('When the room was opened'),
  lastEventAt: timeMs('When the last event happened'),
} as const

const receipt = Type.Object({ userId: Type.String(), delivered: seq('messageIndex up to which all was delivered'), seen: seq('messageIndex up to which all was seen') })
const unread = seq("Messages above one's own seen cursor")

export const room = Type.Object({
  ...roomFields,
  history: Type.String({ description: 'What newcomers see', examples: ['all', 'fromJoin'] }),
  unread: Type.Optional(unread),
  receipts: Type.Array(receipt, { description: "Of who is in the room: one's own, and of those who show theirs" }),
  visibleFrom: Type.Optional(seq('Events below this seq are not shown to the one who asks, who came later')),
})

const attachment = Type.Object({
  url: Type.Optional(Type.String()),
  key: Type.Optional(Type.String({ description: 'Of an upload: GET /rooms/{id}/attachments/{key}' })),
  mimeType: Type.String(),
  bytes: Type.Integer(),
  name: Type.String(),
  width: Type.Optional(Type.Integer()),
  height: Type.Optional(Type.Integer()),
})
export const product = Type.Object({
  productId: Type.String(),
  name: Type.String(),
  priceMinor: Type.Optional(Type.Integer({ description: 'In the smallest unit of the currency' })),
  currency: Type.Optional(Type.String()),
  imageUrl: Type.Optional(Type.String()),
  available: Type.Optional(Type.Boolean()),
  updatedAtMs: timeMs('Of the last product.updated'),
})
export const message = Type.Object({
  roomId: Type.String(),
  seq: seq('Its place in the room'),
  messageId: Type.String(),
  clientMessageId: Type.String(),
  senderId: Type.String(),
  messageIndex: seq('Counts only messages, from 1'),
  content: nullable(Type.String({ description: 'Its last revision; null once it was deleted or erased' })),
  timestamp: timeMs('When it was accepted'),
  messageType: Type.Optional(Type.String({ description: 'Left out: text', examples: [...messageTypes] })),
  attachments: Type.Optional(Type.Array(attachment)),
  location: Type.Optional(Type.Object({ latitude: Type.Number(), longitude: Type.Number(), label: Type.Optional(Type.String()) })),
  productId: Type.Optional(Type.String()),
  orderId: Type.Optional(Type.String()),
  product: Type.Optional(product),
  replyTo: Type.Optional(Type.String({ description: 'messageId of the first message of its thread' })),
  replyToSeq: Type.Optional(seq('Where that is')),
  mentions: Type.Optional(Type.Array(Type.String())),
  revision: Type.Optional(Type.Integer({ description: 'How often it was edited' })),
  deleted: Type.Optional(Type.Boolean({ description: 'A tombstone' })),
  redacted: Type.Optional(Type.String({ description: 'By a moderator, for this reason; deleted too' })),
  hidden: Type.Optional(Type.Boolean({ description: 'Between its sender and the one who asks there is a block' })),
  reactions: Type.Optional(Type.Array(Type.Object({ emoji: Type.String(), count: Type.Integer(), own: Type.Boolean({ description: 'The one who asks is among them' }) }))),
})

export const messagesPage = Type.Object({
  roomId: Type.String(),
  messages: Type.Array(message, { description: 'Ascending by seq' }),
  headSeq: seq('The head of the room when this page was read'),
  nextAfter: seq('`after` for what follows this page; `since` for a WebSocket that goes on from here'),
  hasMore: Type.Boolean({ description: 'With `after`: there is more above; else: there is more below' }),
})

const nextCursor = nullable(Type.String({ description: '`cursor` for the next page; null at the end' }))

export const myRooms = Type.Object({
  rooms: Type.Array(Type.Object({ ...roomFields, role: Type.String({ description: 'What the user is in this room' }) }), {
    description: 'By the time of opening, newest first',
  }),
  nextCursor,
})

export const threadsPage = Type.Object({
  roomId: Type.String(),
  threads: Type.Array(
    Type.Object({
      rootSeq: seq('Of its first message'),
      root: nullable(message),
      replies: Type.Integer({ description: 'That the one who asks may see' }),
      unread: Type.Integer({ description: "Replies of others above one's own seen cursor" }),
      lastReply: message,
    }),
    { description: 'By the last reply, newest first. root is null where it is of before one came in' },
  ),
  nextBefore: nullable(seq('`before` for the next page; null at the end')),
})

export const seenByAnswer = Type.Object({
  roomId: Type.String(),
  messageId: Type.String(),
  messageIndex: seq('Counts only messages, from 1'),
  seenBy: Type.Array(Type.String(), { description: 'Participants, without the sender and those who hide it' }),
  deliveredTo: Type.Array(Type.String()),
})

export const myChats = Type.Object({
  chats: Type.Array(Type.Object({ ...roomFields, role: Type.String({ description: 'What the user is in this room' }), unread, lastMessage: nullable(message) }), {
    description: 'By the time of opening, newest first',
  }),
  nextCursor,
})

export const invitations = Type.Object({
  invitations: Type.Array(
    Type.Object({
      roomId: Type.String(),
      kind: Type.String(),
      subjectId: nullable(Type.String({ description: 'The job or order that the dispute is about' })),
      invitedBy: nullable(Type.String()),
      timestamp: timeMs('When'),
    }),
    { description: 'Newest first' },
  ),
})

export const settings = Type.Object({
  hideReceipts: Type.Boolean({ description: 'What one has seen is not shown to others' }),
  hideLastSeen: Type.Boolean({ description: 'When one was last online is not shown to others' }),
})

export const job = Type.Object({
  jobId: Type.String(),
  chatId: Type.String({ description: 'The room of the job' }),
  disputeId: nullable(Type.String({ description: "The dispute's room" })),
  lsm_invited: Type.Boolean({ description: 'A mediator was invited to the dispute' }),
  resolved: Type.Boolean({ description: 'The dispute was resolved' }),
})

export const adminRooms = Type.Object({
  rooms: Type.Array(Type.Object({ ...roomFields, closedAt: nullable(timeMs('When it was closed')) }), {
    description: 'By the time of opening, newest first',
  }),
  nextCursor,
})

export const eventsPage = Type.Object({
  roomId: Type.String(),
  events: Type.Array(
    Type.Object({
      seq: seq('Its place in the room'),
      type: Type.String({ examples: ['roomOpened', 'messageSent'] }),
      timestamp: timeMs('When it happened'),
      body: Type.Object({}, { additionalProperties: true, description: 'The event as it was persisted; a message with contentHash' }),
      content: nullable(Type.String({ description: 'Of a message or an edit, also of one that was deleted; null once it was erased' })),
      payload: nullable(Type.String({ description: 'Of a message: JSON of its attachments, location or card; null once it was erased' })),
      salt: nullable(Type.String({ description: 'contentHash is SHA-256 of salt, content and payload; null once it was erased' })),
      erasedAt: nullable(timeMs('When the content was erased')),
      logPartition: Type.Integer(),
      logOffset: Type.Integer(),
    }),
  ),
  headSeq: seq('The head of the room when this page was read'),
  nextAfter: seq('`after` for what follows this page'),
  hasMore: Type.Boolean(),
})

export const jwks = Type.Object({ keys: Type.Array(Type.Object({}, { additionalProperties: true })) })
