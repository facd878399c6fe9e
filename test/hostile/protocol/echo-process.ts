// One echo server as a process of its own: `edge` or `bare`, with the largest frame that it takes. Tells its port.
import { startBareEcho } from './bare-echo.ts'
import { startEchoingEdge } from './echoing-edge.ts'

const [, , kind, bytes] = process.argv
const frameBytesMax = Number(bytes)
const server = kind === 'edge' ? await startEchoingEdge({ frameBytesMax, slowBufferBytes: Math.max(1024 * 1024, 4 * frameBytesMax) }) : await startBareEcho({ maxPayloadLength: 2 * frameBytesMax })
process.send?.(server.port)
process.on('disconnect', () => process.exit())
