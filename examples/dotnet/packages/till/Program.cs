using System;
using System.Collections.Generic;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace CornerShop.Till
{
    public static class Program
    {
        public static void Main(string[] args)
        {
            var port = Environment.GetEnvironmentVariable("PORT") ?? "8080";
            Host.CreateDefaultBuilder(args)
                .ConfigureWebHostDefaults(web => web.UseStartup<Startup>().UseUrls($"http://*:{port}"))
                .Build()
                .Run();
        }
    }

    /// <summary>The service: who it is at <c>/</c>, the change for an amount at <c>/v1/change?due=7.35&amp;given=20</c>.</summary>
    public class Startup
    {
        public void ConfigureServices(IServiceCollection services) => services.AddRouting();

        public void Configure(IApplicationBuilder app)
        {
            app.UseRouting();
            app.UseEndpoints(routes =>
            {
                routes.MapGet("/", context => Answer(context, About()));
                routes.MapGet("/healthz", context => Answer(context, new { status = "ok" }));
                routes.MapGet("/v1/change", GiveChange);
            });
        }

        private static object About() => new
        {
            service = "till",
            runtime = RuntimeInformation.FrameworkDescription,
            user = geteuid(),
        };

        private static Task GiveChange(HttpContext context)
        {
            if (!TryAmount(context, "due", out var due) || !TryAmount(context, "given", out var given) || given < due)
            {
                context.Response.StatusCode = StatusCodes.Status400BadRequest;
                return Answer(context, new { error = "due and given are amounts such as 7.35, and given is not less than due" });
            }
            return Answer(context, new { change = given - due, coins = Change.For(given - due) });
        }

        private static bool TryAmount(HttpContext context, string name, out decimal amount) =>
            decimal.TryParse(context.Request.Query[name], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out amount);

        private static Task Answer(HttpContext context, object answer)
        {
            context.Response.ContentType = "application/json";
            return context.Response.WriteAsync(JsonSerializer.Serialize(answer));
        }

        [DllImport("libc")]
        private static extern uint geteuid();
    }

    /// <summary>Change in as few coins and notes as can be.</summary>
    public static class Change
    {
        private static readonly decimal[] Coins =
        {
            50m, 20m, 10m, 5m, 2m, 1m, 0.50m, 0.20m, 0.10m, 0.05m, 0.02m, 0.01m,
        };

        public static List<decimal> For(decimal amount)
        {
            var coins = new List<decimal>();
            foreach (var coin in Coins)
            {
                for (; amount >= coin; amount -= coin)
                {
                    coins.Add(coin);
                }
            }
            return coins;
        }
    }
}
