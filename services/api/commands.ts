import { v7 as uuidV7 } from 'uuid'
import { type ClientMessageId, parseClientMessageId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { InboxCommand, UserDecision } from '#libs/domain/inbox.ts'
import type { RoomCommand, RoomCommandBody } from '#libs/domain/inputs.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'
import { AnsweredCommands, type AnsweredCommandsOptions } from './answered-commands.ts'
import { answerOf, type CommandAnswer } from './core/command-answer.ts'

export type CommandsOptions = AnsweredCommandsOptions<RoomCommand>

export type Asked = {
  readonly roomId: RoomId
  readonly senderId: UserId
  readonly clientMessageId: ClientMessageId
  readonly traceId: string
}

/** As its sender named it, or a new one: then a retry may double what it does. @throws ChatError `invalid_client_message_id` */
export const clientMessageIdOr = (given: string | undefined): ClientMessageId =>
  given === undefined ? (uuidV7() as ClientMessageId) : parseClientMessageId(given)

/** Writing to rooms. */
export class Commands extends AnsweredCommands<RoomCommand, Decision> {
  /** @throws ChatError the log's refusal; `unavailable`; `outcome_unknown`, to be repeated under the same clientMessageId */
  run({ traceId, ...asked }: Asked, body: RoomCommandBody): Promise<CommandAnswer> {
    const named = { roomId: asked.roomId, type: body.type }
    return this.ask((commandId) => ({ ...asked, ...body, commandId }) as RoomCommand, traceId, (decision) => answerOf(named, decision))
  }
}

/** Changes of one's own list of chats. They say how it shall be, so asking again is safe without any name. */
export type InboxCommands = AnsweredCommands<InboxCommand, UserDecision>
