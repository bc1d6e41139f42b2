// The paired test. Its counts come with the page, the p-value is computed here.

// log(0!), log(1!), …, made as far as it is asked for.
const logFactorials = [0];

function logFactorial(number) {
  for (let next = logFactorials.length; next <= number; next += 1) {
    logFactorials.push(logFactorials[next - 1] + Math.log(next));
  }
  return logFactorials[number];
}

// McNemar's test in its exact form: two-sided binomial with share 1/2. b, c: images only one of the two got right.
function mcnemar(b, c) {
  const count = b + c;
  const least = Math.min(b, c);
  if (b === c) return 1;
  const log = logFactorial(count) - logFactorial(least) - logFactorial(count - least) - count * Math.LN2;
  let relative = 1;
  let sum = 1;
  for (let place = least; place > 0 && relative > 1e-17 * sum; place -= 1) {
    relative *= place / (count - place + 1);
    sum += relative;
  }
  return Math.min(1, 2 * Math.exp(log + Math.log(sum)));
}

// p-values corrected for making several comparisons at once (Holm 1979), in the order given.
function holm(values) {
  const order = values.map((_, place) => place).sort((one, other) => values[one] - values[other]);
  const corrected = new Array(values.length);
  let largest = 0;
  order.forEach((place, rank) => {
    largest = Math.max(largest, Math.min(1, (values.length - rank) * values[place]));
    corrected[place] = largest;
  });
  return corrected;
}
