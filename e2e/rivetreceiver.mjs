// Receives events with Zoom's SDK on PORT, and prints each as a line of JSON.
import { UsersS2SAuthClient } from '@zoom/rivet/users';

const { PORT, WEBHOOK_SECRET } = process.env;
const client = new UsersS2SAuthClient({
  accountId: 'unused',
  clientId: 'unused',
  clientSecret: 'unused',
  webhooksSecretToken: WEBHOOK_SECRET,
  port: Number(PORT),
});
for (const name of ['user.presence_status_updated', 'user.personal_notes_updated'])
  client.webEventConsumer.event(name, (event) => console.log(JSON.stringify(event)));
await client.start();
