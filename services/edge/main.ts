import { runMain } from '#libs/runtime/run-main.ts'
import { edgeConfigFromEnv } from './config.ts'
import { startEdge } from './service.ts'

await runMain(() => startEdge(edgeConfigFromEnv(process.env)))
