import { ChatError } from '#libs/domain/errors.ts'
import { orderEventToAvro } from '#libs/streams/avro-shapes.ts'
import { productUpdateToAvro } from '#libs/streams/product-shape.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import { SqsReceiver } from '#libs/sqs/receiver.ts'
import { Bridge } from '../../../services/sqs-bridge/bridge.ts'
import type { OrderEventSink } from '../../../services/sqs-bridge/core/order-event-sink.ts'
import { SinkGate } from '../../../services/sqs-bridge/sink-gate.ts'
import { SimProducer } from '../world/producer.ts'
import type { Process } from '../world/process.ts'
import type { Servers } from '../world/servers.ts'

const nothing = () => {}
const logger = { debug: nothing, info: nothing, warn: nothing, error: nothing } as never
const metric = { inc: nothing, observe: nothing, startTimer: () => nothing }
const metrics = new Proxy({}, { get: () => metric }) as never
const VISIBILITY_TIMEOUT_S = 4
const CLOSE_MS = 2_000

/** services/sqs-bridge/service.ts in the simulated world. Returns its graceful end. */
export function startBridge(process: Process, servers: Servers): () => Promise<void> {
  const { kafka, registry, sqs } = servers
  const codec = registry.codec(process, topics.orderEvents, new Set())
  const productCodec = registry.codec(process, topics.productUpdates, new Set())
  const events = new SimProducer(process, kafka)
  const deadLetters = new SimProducer(process, kafka)
  const sink: OrderEventSink = {
    publish: (event, traceparent) =>
      events.send(topics.orderEvents.name, { key: event.orderId, value: codec.encode(orderEventToAvro(event)), headers: { [headerNames.eventType]: event.type, [headerNames.traceparent]: traceparent } }),
    publishProduct: (product) => events.send(topics.productUpdates.name, { key: product.productId, value: productCodec.encode(productUpdateToAvro(product)), headers: {} }),
    deadLetter: (message, code) => deadLetters.send(topics.orderEventsDlq.name, { key: null, value: Buffer.from(message.body), headers: { [headerNames.errorCode]: code } }),
    probe: async () => {
      const { high } = await kafka.range(process, topics.orderEvents.name, 0)
      if (high < 0n) throw new ChatError('unavailable')
    },
  }
  const { clock } = process
  const gate = new SinkGate({ sink, clock, logger, inHand: () => receiver.inWork, onPhase: nothing })
  const bridge = new Bridge({ sink, gate, clock, logger, metrics, holdMaxMs: 5_000 })
  const receiver: SqsReceiver = new SqsReceiver({
    queue: sqs.queue(process),
    clock,
    logger,
    config: { receivers: 2, waitS: 1, visibilityTimeoutS: VISIBILITY_TIMEOUT_S, inWorkMax: 20 },
    handle: (batch, settle, stopping) => bridge.handle(batch, settle, stopping),
    admit: (stopping) => gate.mayReceive(stopping),
  })
  receiver.start()
  return async () => {
    await receiver.close(CLOSE_MS)
    await gate.close()
  }
}
