// Sets a user's presence status with HttpClient, as a multipart form over TLS.
// usage: UpdatePresence BASE-URL USER STATUS [DURATION]; the access token is
// taken from the variable PORCHLIGHT_TOKEN.
using System;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Threading.Tasks;

static class UpdatePresence
{
    static int Main(string[] args)
    {
        return Put(args).GetAwaiter().GetResult();
    }

    static async Task<int> Put(string[] args)
    {
        using (var client = new HttpClient { BaseAddress = new Uri(args[0]), Timeout = TimeSpan.FromSeconds(10) })
        using (var form = new MultipartFormDataContent())
        {
            client.DefaultRequestHeaders.Authorization =
                new AuthenticationHeaderValue("Bearer", Environment.GetEnvironmentVariable("PORCHLIGHT_TOKEN"));
            form.Add(new StringContent(args[2]), "status");
            if (args.Length > 3)
            {
                form.Add(new StringContent(args[3]), "duration");
            }
            var path = "/v2/users/" + Uri.EscapeDataString(args[1]) + "/presence_status";
            using (var response = await client.PutAsync(path, form))
            {
                Console.WriteLine((int)response.StatusCode);
                Console.Write(await response.Content.ReadAsStringAsync());
                return response.IsSuccessStatusCode ? 0 : 1;
            }
        }
    }
}
