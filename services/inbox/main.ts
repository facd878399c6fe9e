import { runMain } from '#libs/runtime/run-main.ts'
import { inboxConfigFromEnv } from './config.ts'
import { startInbox } from './service.ts'

await runMain(() => startInbox(inboxConfigFromEnv(process.env)))
