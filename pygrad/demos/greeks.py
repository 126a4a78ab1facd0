"""Black-Scholes Greeks of a Monte-Carlo price: one backward pass over the paths gives all of them.

The price of a call option is the mean of its discounted payoff over random final prices of the stock. The payoff of
each sample is differentiated (the pathwise method: P. Glasserman, "Monte Carlo Methods in Financial Engineering",
Springer 2003, section 7.2). The means of the derivatives are delta (by the stock's price), vega (by its volatility),
rho (by the interest rate) and minus theta (by the time left). All must agree within five standard errors with the
formula of F. Black and M. Scholes, "The Pricing of Options and Corporate Liabilities", Journal of Political Economy 81
(3), 1973.
"""

import math
import random
from array import array
from statistics import NormalDist

import pygrad
from pygrad.demos import save_table, stopwatch

SEED = 1973
STRIKE = 105.0
MARKET = (100.0, 0.2, 0.05, 1.5)  # stock price, volatility per year, interest rate per year, years left
NAMES = ("price", "delta", "vega", "rho", "-theta")


@pygrad.compile(reduction="none", batched=(False, False, False, False, True))
def payoff(stock, volatility, rate, years, z):
    """Return the discounted payoff for z, a draw from the standard normal distribution."""
    end = stock * ((rate - volatility**2 / 2.0) * years + volatility * years.sqrt() * z).exp()
    return (-rate * years).exp() * (end - STRIKE).relu()


def black_scholes(stock, volatility, rate, years):
    """Return price, delta, vega, rho and -theta of the call by Black and Scholes's formula."""
    normal, root = NormalDist(), volatility * math.sqrt(years)
    d1 = (math.log(stock / STRIKE) + (rate + volatility**2 / 2) * years) / root
    d2, bond = d1 - root, STRIKE * math.exp(-rate * years)
    vega = stock * normal.pdf(d1) * math.sqrt(years)
    rho = years * bond * normal.cdf(d2)
    theta = vega * volatility / (2 * years) + rate * bond * normal.cdf(d2)
    return stock * normal.cdf(d1) - bond * normal.cdf(d2), normal.cdf(d1), vega, rho, theta


def run(out_dir, samples=20_000):
    """Estimate price and Greeks; print and save them beside the formula's numbers.

    Returns {"estimates": {name: number}, "errors": {name: in standard errors}, "files": paths}. Raises RuntimeError if
    an estimate is more than five standard errors from the formula.
    """
    rng = random.Random(SEED)
    draws = [rng.gauss(0.0, 1.0) for _ in range(samples)]
    with stopwatch() as time:
        columns = _columns(draws)
    lines = [f"{samples} paths took {time}", f"{'':8}{'estimate':>12}{'formula':>12}{'std errors':>12}"]
    estimates, errors = {}, {}
    for name, column, exact in zip(NAMES, columns, black_scholes(*MARKET)):
        mean = math.fsum(column) / samples
        spread = math.sqrt(math.fsum((x - mean) ** 2 for x in column) / (samples - 1) / samples)
        estimates[name], errors[name] = mean, (mean - exact) / spread
        if abs(errors[name]) > 5:
            raise RuntimeError(f"{name} is {mean}, and {exact} by the formula")
        lines.append(f"{name:8}{mean:12.5f}{exact:12.5f}{errors[name]:12.2f}")
    return {"estimates": estimates, "errors": errors, "files": [save_table(out_dir / "greeks.txt", lines)]}


def _columns(draws):
    """Return five lists, with a number per sample: the payoff, and its derivatives by the four numbers of MARKET."""
    bound = payoff.bind(*MARKET, array("d", draws))
    bound.backward()
    gradients, count = list(bound.gradients), len(draws)
    return [list(bound.output), *[gradients[i * count : (i + 1) * count] for i in range(4)]]
