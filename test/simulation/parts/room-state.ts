import type { RoomLimits } from '#libs/domain/limits.ts'
import type { TaskLimits } from '#libs/streams/fenced-task.ts'
import { inputTopics, topics } from '#libs/streams/topics.ts'
import { prepareInputs } from '../../../services/room-state/core/prepare.ts'
import { type PreparedInput, RoomProcessor } from '../../../services/room-state/core/room-processor.ts'
import { ofRooms } from '../world/kafka.ts'
import type { Process } from '../world/process.ts'
import type { Servers } from '../world/servers.ts'
import { startFenced } from './fenced.ts'

/** services/room-state/service.ts in the simulated world. Returns its graceful end. */
export function startRoomState(process: Process, servers: Servers, limits: TaskLimits, roomLimits: RoomLimits): () => Promise<void> {
  const { kafka, registry, groups } = servers
  const known = new Set<number>()
  const codecs = {
    orderEvents: registry.codec(process, topics.orderEvents, known),
    chatCommands: registry.codec(process, topics.chatCommands, known),
    roomEvents: registry.codec(process, topics.roomEvents, known),
    roomState: registry.codec(process, topics.roomState, known),
  }
  const decode = (topic: string, bytes: Buffer) => (topic === topics.orderEvents.name ? codecs.orderEvents : codecs.chatCommands).decode(bytes)
  return startFenced<PreparedInput, RoomProcessor>(process, servers, {
    group: groups.roomState,
    fenced: ofRooms,
    inputTopics,
    deadLetterTopic: topics.chatCommandsDlq.name,
    createProcessor: (partition, deadLetter) =>
      new RoomProcessor({
        roomEvents: codecs.roomEvents,
        roomState: codecs.roomState,
        limits: roomLimits,
        prepare: (records) => prepareInputs({ partition, partitions: kafka.partitions, decode, deadLetter }, records),
      }),
    onTakenOver: (partition, epoch, { rooms }) => servers.probes.onTakenOver(partition, epoch, rooms),
    limits,
  })
}
