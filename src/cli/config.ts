import { environmentName, type SettingKey, settings } from '../config/schema.ts'
import type { Command } from './command.ts'
import { table } from './output.ts'

export const commands: Command[] = [
  {
    name: 'config show',
    summary: 'show every setting: its value here, its default, its variable',
    examples: ['config show', 'config show --json'],
    async run(context) {
      const { config, paths } = await context.host()
      const keys = Object.keys(settings) as SettingKey[]
      const rows = keys.map((key) => [key, JSON.stringify(config[key]), JSON.stringify(settings[key].default), settings[key].help])
      context.out.summary(
        {
          home: paths.home,
          settings: keys.map((key) => ({
            key,
            value: config[key],
            default: settings[key].default,
            variable: environmentName(key),
          })),
        },
        [
          `home: ${paths.home}`,
          'a key "a.b" is "b:" under "a:" in config.yaml, and CERTAUTOPILOT_A_B in the environment',
          ...table([['key', 'value', 'default', ''], ...rows]),
        ],
      )
    },
  },
  {
    name: 'config check',
    summary: 'read configuration and secrets and report every problem',
    examples: ['config check'],
    async run(context) {
      const { paths, warnings, secrets, backup } = await context.host()
      if (secrets.keks.size > 0) backup.keysIn(await backup.secretStore.capture())
      context.out.summary({ home: paths.home, warnings }, [
        ...warnings.map((warning) => `warning: ${warning}`),
        `the configuration in "${paths.home}" is good`,
      ])
    },
  },
]
