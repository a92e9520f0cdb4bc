"""What becomes of the results of checks: those that deviate must be listed, each with its reason, and
what is listed must deviate."""


def judge(suite, results, listed):
    """Says what came out, and returns how many results are not as they must be.

    `results` has for each check what is wrong, or None; `listed` has the reason for each that deviates.
    """
    if not results:
        raise SystemExit(f"{suite}: there were no checks")
    passed = wrong = 0
    for name, fault in sorted(results.items()):
        reason = listed.get(name)
        if fault is None and reason is None:
            passed += 1
        elif fault is None:
            wrong += 1
            print(f"{suite}: {name}: no longer deviates, but is listed: {reason}")
        elif reason is None:
            wrong += 1
            print(f"{suite}: {name}: deviates: {fault}")
        else:
            print(f"{suite}: {name}: deviates as listed: {reason}")
    for name in sorted(listed.keys() - results.keys()):
        wrong += 1
        print(f"{suite}: {name}: is listed, but was not checked")
    print(f"{suite}: {passed} as they should be, {len(results) - passed} not, {wrong} of them unexpected")
    return wrong
