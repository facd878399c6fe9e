import type { InboxCommand } from '#libs/domain/inbox.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import { commandToAvro } from './avro-shapes.ts'
import { inboxCommandToAvro } from './inbox-shapes.ts'
import type { OutRecord } from './record.ts'
import { headerNames } from './topics.ts'

type Encoder = { encode(value: unknown): Buffer }
export type Routing = {
  /** W3C trace context. */
  readonly traceparent: string
  /** Where the answer is awaited; left out: nowhere. */
  readonly replyTo?: string
}

/** A command on its way to `chat-commands`. Its id is a header too, for where the value cannot be read. */
export function commandRecord(codec: Encoder, command: RoomCommand, routing: Routing): OutRecord {
  return { key: command.roomId, value: codec.encode(commandToAvro(command)), headers: headersOf(command, routing) }
}

/** A command on its way to `inbox-commands`. */
export function inboxCommandRecord(codec: Encoder, command: InboxCommand, routing: Routing): OutRecord {
  return { key: command.userId, value: codec.encode(inboxCommandToAvro(command)), headers: headersOf(command, routing) }
}

function headersOf({ commandId }: { readonly commandId: string }, { traceparent, replyTo }: Routing): Readonly<Record<string, string>> {
  return { [headerNames.traceparent]: traceparent, ...(replyTo !== undefined && { [headerNames.replyTo]: replyTo }), [headerNames.commandId]: commandId }
}
