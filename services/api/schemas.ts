import { type TSchema, Type } from '@fastify/type-provider-typebox'
import { errorCatalogue } from '#libs/domain/errors.ts'
import { PAGE } from './core/message-page.ts'

/** What goes in and out, as JSON Schema: checked on the way in, and nothing else passes on the way out. */
const SEQ = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const
const seq = (description: string) => Type.Integer({ ...SEQ, description })
const timeMs = (description: string) => Type.Integer({ description: `${description}; ms since 1970` })
const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])

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

export const roomParams = Type.Object({
  id: Type.String({ pattern: '^[A-Za-z0-9._:-]{1,128}$', description: "The room's id: for an order's room, the order's id" }),
})

const limit = Type.Integer({ minimum: 1, maximum: PAGE.limitMax, default: PAGE.limitDefault })
const cursor = Type.String({ maxLength: 256, description: '`nextCursor` of the page before' })
const strict = { additionalProperties: false } as const

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

const participant = Type.Object({ userId: Type.String(), role: Type.String({ examples: ['customer', 'vendor', 'rider'] }) })
const roomFields = {
  roomId: Type.String(),
  orderId: nullable(Type.String()),
  participants: Type.Array(participant, { description: 'Who is in the room now' }),
  readOnly: Type.Boolean({ description: 'Closed for writing, for ever' }),
  closedReason: nullable(Type.String({ examples: ['delivered', 'cancelled'] })),
  headSeq: seq('The seq of the last event of any kind'),
  messageCount: seq('Messages ever sent: unread is this minus the messageIndex last read'),
  openedAt: timeMs('When the room was opened'),
  lastEventAt: timeMs('When the last event happened'),
} as const

export const room = Type.Object(roomFields)

export const messagesPage = Type.Object({
  roomId: Type.String(),
  messages: Type.Array(
    Type.Object({
      roomId: Type.String(),
      seq: seq('Its place in the room'),
      messageId: Type.String(),
      clientMessageId: Type.String(),
      senderId: Type.String(),
      messageIndex: seq('Counts only messages, from 1'),
      content: nullable(Type.String({ description: 'null once it was erased' })),
      timestamp: timeMs('When it was accepted'),
    }),
    { description: 'Ascending by seq' },
  ),
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
      content: nullable(Type.String({ description: 'Of a message; null once it was erased' })),
      salt: nullable(Type.String({ description: 'contentHash is SHA-256 of salt and content; null once it was erased' })),
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
