import { runMain } from '#libs/runtime/run-main.ts'
import { sqsBridgeConfigFromEnv } from './config.ts'
import { startSqsBridge } from './service.ts'

await runMain(() => startSqsBridge(sqsBridgeConfigFromEnv(process.env)))
