import { runMain } from '#libs/runtime/run-main.ts'
import { relayConfigFromEnv } from './config.ts'
import { startRelay } from './service.ts'

await runMain(() => startRelay(relayConfigFromEnv(process.env)))
